"""Three programs that judge DKIM signatures, none of them ours: dkimpy, OpenDKIM, rspamd.

OpenDKIM runs as the milter that Debian ships and is spoken to as Postfix does; its keys
come from a file. rspamd runs with nothing but its DKIM module and asks the name server
of the sandbox. Both listen in their folder or on loopback.

Use as ``async with Judges(folder, keys) as judges``. A verdict is ``""`` for a signature
of :attr:`Judges.domain` that holds, else why there is none.

Standards: RFC 6376 §6; the milter protocol, version 6, as Sendmail and Postfix have it.
"""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import httpx

from fakes.postfix import free_port
from mailwright.message import fields, split
from mailwright.sandbox.dns import Records, SandboxDns
from mailwright.sandbox.verification import prepare_worker, verify_all

START_S = 240.0
_BATCH: Final = 16
_RSPAMD_AT_ONCE: Final = 4

_OPENDKIM: Final = """\
Mode v
AlwaysAddARHeader yes
AuthservID judge.example
TestPublicKeys {folder}/keys
Socket local:{folder}/milter
UMask 000
UserID root
RequireSafeKeys no
Syslog no
MaximumHeaders 0
SoftwareHeader no
"""
_RSPAMD: Final = """\
options {{
  pidfile = "{folder}/pid";
  tempdir = "{folder}";
  hs_cache_dir = "{folder}";
  control_socket = "{folder}/control mode=0600";
  # The whole list takes it seconds to compile, and is of no use here.
  url_tld = "{folder}/suffixes";
  filters = "dkim";
  max_message = 64M;
  dns {{ nameserver = ["{host}:{port}:1"]; timeout = 10s; retransmits = 3; }}
}}
logging {{ type = "console"; level = "warning"; color = false; }}
dkim {{ trusted_only = false; time_jitter = 3650d; }}
worker "normal" {{ bind_socket = "127.0.0.1:{listen}"; count = 1; }}
"""
#: Without it rspamd takes the address from Received, and judges nothing that is local.
_STRANGER: Final = {"IP": "192.0.2.1", "Helo": "client.example.net"}


class Judge(Protocol):
    """Something that verifies."""

    async def judge(self, contents: Sequence[bytes]) -> list[str]:
        """Return a verdict on each message; ``""``: it is signed, and it holds."""
        ...


@dataclass
class Judges:
    """All three.

    Attributes:
        folder: of their files; made here.
        keys: TXT records by name without the final dot.
        domain: whose signature is asked for.
        by_name: the judges.
    """

    folder: Path
    keys: Mapping[str, str]
    domain: str
    by_name: dict[str, Judge] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def judge(self, contents: Sequence[bytes]) -> dict[str, list[str]]:
        """Return the verdicts by judge, all at the same time."""
        async with asyncio.TaskGroup() as tasks:
            asked = {
                name: tasks.create_task(each.judge(contents))
                for name, each in self.by_name.items()
            }
        return {name: task.result() for name, task in asked.items()}

    async def __aenter__(self) -> Self:
        self.folder.mkdir()
        async with AsyncExitStack() as stack:
            self.by_name = {
                "dkimpy": stack.enter_context(Dkimpy(self.keys, self.domain)),
                "opendkim": await stack.enter_async_context(
                    opendkim(self.folder / "opendkim", self.keys, self.domain)
                ),
                "rspamd": await stack.enter_async_context(
                    rspamd(self.folder / "rspamd", self.keys, self.domain)
                ),
            }
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, _trace: object
    ) -> None:
        await self._stack.__aexit__(type(error) if error else None, error, None)


class Dkimpy:
    """dkimpy, in two processes. Use as ``with``."""

    def __init__(self, keys: Mapping[str, str], domain: str) -> None:
        self._keys, self._domain = dict(keys), domain
        self._workers = ProcessPoolExecutor(2, initializer=prepare_worker)

    async def judge(self, contents: Sequence[bytes]) -> list[str]:
        loop = asyncio.get_running_loop()
        asked = [
            loop.run_in_executor(
                self._workers, verify_all, contents[at : at + _BATCH], self._keys
            )
            for at in range(0, len(contents), _BATCH)
        ]
        found = [each for batch in asked for each in await batch]
        return [
            "" if each.domain == self._domain else f"{each.domain}: {each.reason}"
            for each in found
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.shutdown()


@asynccontextmanager
async def opendkim(
    folder: Path, keys: Mapping[str, str], domain: str
) -> AsyncIterator["OpenDkim"]:
    """Run OpenDKIM's milter and connect to it."""
    records = "".join(f"{name} {text}\n" for name, text in keys.items())
    _write(folder, conf=_OPENDKIM.format(folder=folder), keys=records)
    process = await asyncio.create_subprocess_exec(
        *("opendkim", "-f", "-x", str(folder / "conf")),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START_S):
            while True:
                assert process.returncode is None, "opendkim ended"
                try:
                    ends = await asyncio.open_unix_connection(folder / "milter")
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    break
        judge = OpenDkim(*ends, domain)
        await judge.begin()
        yield judge
        ends[1].close()
        await ends[1].wait_closed()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


# Commands to a milter and its answers; actions it may ask for: any.
_VERSION: Final = 6
_ACTIONS: Final = 0x1FF
#: It gets field values with the blank after the colon.
_LEADING_BLANK: Final = 0x100000
_CHUNK: Final = 65_535
MAX_FIELD_OCTETS: Final = 65_000
_CONTINUE: Final = b"c"
_ACCEPT: Final = b"a"
#: Answers that add or change something; what they are about follows.
_CHANGES: Final = frozenset(b"himbqe+-2y")


class OpenDkim:
    """One connection to the milter, as an MTA has it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str
    ) -> None:
        self._reader, self._writer = reader, writer
        self._result = re.compile(
            rb"dkim=pass [^;]*header\.d=%b[\s;]" % re.escape(domain.encode())
        )

    async def begin(self) -> None:
        """Agree on the protocol, and tell of the client."""
        offer = struct.pack(">III", _VERSION, _ACTIONS, _LEADING_BLANK)
        assert (await self._say(b"O", offer))[:1] == b"O"
        peer = b"client.example.net\0" + b"4" + struct.pack(">H", 25) + b"192.0.2.1\0"
        await self._go(b"C", peer)
        await self._go(b"H", b"client.example.net\0")

    async def judge(self, contents: Sequence[bytes]) -> list[str]:
        return [await self._judge_one(content) for content in contents]

    async def _judge_one(self, content: bytes) -> str:
        header, body = split(content)
        if any(field.end - field.start > MAX_FIELD_OCTETS for field in fields(header)):
            return "a field is longer than a milter can be told"
        await self._go(b"M", b"<a@example.com>\0")
        await self._go(b"R", b"<b@example.net>\0")
        await self._go(b"T", b"")
        for each in fields(header):
            # A milter gets lines of a field that end in LF alone.
            value = each.value.replace(b"\r\n", b"\n")
            await self._go(b"L", each.name + b"\0" + value + b"\0")
        if await self._say(b"N", b"") == _ACCEPT:
            return "taken without a look at the body"
        for at in range(0, len(body), _CHUNK):
            await self._go(b"B", body[at : at + _CHUNK])
        said = await self._say(b"E", b"")
        results = b""
        while said[0] in _CHANGES:
            if b"Authentication-Results\0" in said:
                results += said.rpartition(b"Authentication-Results\0")[2]
            said = await self._hear()
        assert said in (_CONTINUE, _ACCEPT), said
        return "" if self._result.search(results + b";") else results.decode() or "none"

    async def _go(self, command: bytes, data: bytes) -> None:
        said = await self._say(command, data)
        assert said == _CONTINUE, (command, said)

    async def _say(self, command: bytes, data: bytes) -> bytes:
        self._writer.write(struct.pack(">I", len(data) + 1) + command + data)
        return await self._hear()

    async def _hear(self) -> bytes:
        """Return a packet: a letter and what follows it."""
        async with asyncio.timeout(START_S):
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            return await self._reader.readexactly(length)


@asynccontextmanager
async def rspamd(
    folder: Path, keys: Mapping[str, str], domain: str
) -> AsyncIterator["Rspamd"]:
    """Run rspamd, and the name server that it asks."""
    listen = free_port()
    async with SandboxDns(
        {name: Records(texts=(text,)) for name, text in keys.items()}
    ) as names:
        host, port = names.address
        conf = _RSPAMD.format(folder=folder, listen=listen, host=host, port=port)
        _write(folder, conf=conf, suffixes="com\nexample\n")
        process = await asyncio.create_subprocess_exec(
            *("rspamd", "-f", "-i", "-c", str(folder / "conf")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listen}", timeout=START_S, trust_env=False
        )
        try:
            async with client:
                async with asyncio.timeout(START_S):
                    while not await _answers(client):
                        assert process.returncode is None, "rspamd ended"
                        await asyncio.sleep(0.1)
                yield Rspamd(client, domain)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _write(folder: Path, **files: str) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ping")).is_success
    except httpx.TransportError:
        return False


class Rspamd:
    """A client of rspamd, as ``rspamc`` is."""

    def __init__(self, client: httpx.AsyncClient, domain: str) -> None:
        self._client, self._domain = client, domain
        self._free = asyncio.Semaphore(_RSPAMD_AT_ONCE)

    async def judge(self, contents: Sequence[bytes]) -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._judge_one(each)) for each in contents]
        return [task.result() for task in asked]

    async def _judge_one(self, content: bytes) -> str:
        async with self._free:
            answer = await self._client.post(
                "/checkv2", content=content, headers=_STRANGER
            )
        symbols: dict[str, Any] = answer.raise_for_status().json().get("symbols", {})
        allowed = symbols.get("R_DKIM_ALLOW", {}).get("options", [])
        if any(each.partition(":")[0] == self._domain for each in allowed):
            return ""
        said = [f"{name}{each.get('options', [])}" for name, each in symbols.items()]
        return " ".join(said) or "no verdict"
