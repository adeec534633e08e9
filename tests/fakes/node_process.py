"""The node as a process: its folder, its start, its end."""

import asyncio
import hashlib
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

#: For a start, also on a machine that is busy with other things.
START_S = 240.0
#: How the node is started; a control starts something else.
SERVE = ("-m", "mailwright", "serve")
API_KEY = "mw_crm_" + "a" * 32

_LISTENS = re.compile(r" (SMTP|HTTP) on (\S+) port (\d+)$")
_NODE = """\
name = "n1"
hostname = "mta.example.com"
state_dir = "state"
bootstrap = "setup.toml"

[[smtp]]
listen = "127.0.0.1:0"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "crm"

[http]
listen = "127.0.0.1:0"

[delivery]
smtp_port = {smtp_port}
retry = ["1s"]
ambiguous_retry = "1s"
{delivery}

[dns]
nameservers = ["{dns_host}"]
port = {dns_port}
"""
_SETUP = """\
allowed_networks = ["127.0.0.0/8"]

[[tenant]]
name = "acme"

[[source]]
name = "main"
ehlo_name = "mta.example.com"

[[pool]]
name = "main"
sources = {{ main = 1 }}

[[stream]]
tenant = "acme"
name = "news"
class = "bulk"
pool = "main"

[[credential]]
tenant = "acme"
name = "crm"
stream = "news"
sha256 = "{key_hash}"
dsn = "none"
{scopes}

[[sending_domain]]
tenant = "acme"
domain = "example.com"
selector = "s1"
key_file = "s1.pem"
proof = "operator"
"""
_ROUTE = """
[[route]]
domain = "{domain}"
next_hop = "{next_hop}"
pipelining = "{pipelining}"
tls = "{tls}"
"""


@lru_cache(maxsize=1)
def dkim_pem() -> bytes:
    """Return a private key; dear to make, so there is one for all tests."""
    return generate_private_key(65_537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@dataclass(frozen=True, slots=True)
class Hop:
    """A route: instead of the MX of ``domain``, mail goes to ``next_hop``."""

    domain: str
    next_hop: str
    pipelining: str = "transactions"
    tls: str = "none"
    #: For AUTH; the password is in a file in the node's folder.
    login: str = ""
    password_file: str = ""


def write_node(
    folder: Path,
    *,
    nameserver: tuple[str, int] = ("127.0.0.1", 9),
    smtp_port: int = 25,
    routes: Sequence[Hop] = (),
    delivery: str = "",
    more: str = "",
    scopes: Sequence[str] = (),
) -> Path:
    """Write a node's two files and its key into ``folder``; return the first one.

    ``delivery`` is lines for that table, ``more`` are further tables. ``scopes`` are those
    of the API key; none are the usual ones.
    """
    (folder / "s1.pem").write_bytes(dkim_pem())
    key_hash = hashlib.sha256(API_KEY.encode()).hexdigest()
    listed = f"scopes = {json.dumps([*scopes])}" if scopes else ""
    setup = _SETUP.format(key_hash=key_hash, scopes=listed)
    for route in routes:
        setup += _ROUTE.format(
            domain=route.domain,
            next_hop=route.next_hop,
            pipelining=route.pipelining,
            tls=route.tls,
        )
        if route.login:
            setup += f'login = "{route.login}"\n'
            setup += f'password_file = "{route.password_file}"\n'
    (folder / "setup.toml").write_text(setup)
    settings = folder / "node.toml"
    settings.write_text(
        _NODE.format(
            smtp_port=smtp_port,
            delivery=delivery,
            dns_host=nameserver[0],
            dns_port=nameserver[1],
        )
        + more
    )
    return settings


@dataclass(slots=True)
class NodeProcess:
    """A node that runs, or has run. Use as ``async with NodeProcess(settings)``.

    Attributes:
        settings: its file.
        command: what the interpreter is told; the file's name follows.
        environment: variables beside those of the test.
        doors: addresses of its SMTP doors, in the order of its file.
        http: address of its API.
        log: what it has written so far, line by line; JSON as the text it stands for.
    """

    settings: Path
    command: Sequence[str] = SERVE
    environment: Mapping[str, str] = field(default_factory=dict)
    doors: list[tuple[str, int]] = field(default_factory=list)
    http: tuple[str, int] = ("", 0)
    log: list[str] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        await self.spawn()
        await self.wait_running()
        return self

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _trace: object
    ) -> None:
        await self.kill()
        if error is not None:
            error.add_note(self.text)

    @property
    def smtp(self) -> tuple[str, int]:
        """Address of its first SMTP door."""
        return self.doors[0]

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def text(self) -> str:
        """The whole log."""
        return "\n".join(self.log)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone and all that it wrote was read."""
        return self._reading is None or self._reading.done()

    async def spawn(self) -> None:
        """Start the process; it is not ready yet."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.command,
            str(self.settings),
            cwd=self.settings.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
        )
        self._reading = asyncio.create_task(self._read())

    async def wait_running(self) -> None:
        """Return when its doors are open."""
        await self.wait_log(r"node \S+ runs$", within_s=START_S)
        for line in self.log:
            if found := _LISTENS.search(line):
                address = found[2], int(found[3])
                if found[1] == "HTTP":
                    self.http = address
                else:
                    self.doors.append(address)

    async def wait_log(self, pattern: str, *, within_s: float = 120.0) -> str:
        """Return the first line of the log that ``pattern`` is found in."""
        compiled = re.compile(pattern)
        seen = 0
        async with asyncio.timeout(within_s):
            while True:
                self._news.clear()
                for line in self.log[seen:]:
                    if compiled.search(line):
                        return line
                seen = len(self.log)
                if self.has_ended:
                    raise AssertionError(f"the node ended: {self.text}")
                await self._news.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process; one that has ended hears nothing."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def wait(self, *, within_s: float = 240.0) -> int:
        """Return the exit status, when it has one and its log is read."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(within_s):
            status = await self._process.wait()
            await asyncio.shield(self._reading)
        return status

    async def kill(self) -> None:
        """``kill -9``, whatever it does; returns when it is dead."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            await self.wait()

    async def stop(self, *, within_s: float = 240.0) -> int:
        """Stop it by SIGTERM and return its exit status."""
        self.send(signal.SIGTERM)
        return await self.wait(within_s=within_s)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(_as_text(line.decode().rstrip("\n")))
            self._news.set()
        await self._process.wait()
        self._news.set()


def _as_text(line: str) -> str:
    """Return a line of the log as ``format = "text"`` has it."""
    if not line.startswith("{"):
        return line
    record = json.loads(line)
    return "{at} {level} {room}: {message}".format(**record)


def query(settings: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Read from the database of the node with this file, whether it runs or not."""
    path = settings.parent / "state" / "mailwright.db"
    uri = f"{path.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=120)) as connection:
        return connection.execute(sql, values).fetchall()


def query_days(settings: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Read ``columns`` of the tables of all days, such as ``finished``."""
    days = [row[0] for row in query(settings, "SELECT day FROM days ORDER BY day")]
    return [
        row
        for day in days
        for row in query(settings, f"SELECT {columns} FROM {table}_{day}")
    ]
