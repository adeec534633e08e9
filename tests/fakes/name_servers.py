"""Debian's Knot with zones of a test's own, and Unbound which asks it for the node.

Both run on loopback. Unbound takes every name to Knot, the root too: nothing that is
asked leaves the machine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fakes.postfix import free_port

START_S = 240.0

_KNOT = """\
server:
    listen: 127.0.0.1@{port}
    rundir: "{folder}"
    # Only its own zones: one that is broken is no reason not to start.
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
database:
    storage: "{folder}/keys"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: "{folder}"
    file: "%s.zone"
zone:
"""
_HEAD = """\
$ORIGIN {origin}
$TTL 60
@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 60
@ NS ns.invalid.
"""
_UNBOUND = """\
server:
    interface: 127.0.0.1
    port: {port}
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    do-ip6: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    num-threads: 1
    module-config: "validator iterator"
    # A server that was away is asked again at once.
    infra-host-ttl: 1
    infra-keep-probing: yes
{more}
remote-control:
    control-enable: yes
    control-interface: "{folder}/control"
    control-use-cert: no
"""
_STUB = """\
stub-zone:
    name: "{zone}"
    stub-addr: 127.0.0.1@{port}
"""


@dataclass
class Daemon:
    """A program in the foreground. Use as ``async with``; it may be stopped between.

    Attributes:
        folder: of its files; made when it is written.
        port: on 127.0.0.1, UDP and TCP.
        log: what it has written to standard error.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    log: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def command(self) -> Sequence[str]:
        """What runs in the foreground."""
        raise NotImplementedError

    @property
    def ready(self) -> str:
        """What it logs when it answers."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start it; it answers on return."""
        self.log.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(START_S):
            while not any(self.ready in line for line in self.log):
                assert not self._reading.done(), "\n".join(self.log)
                self._news.clear()
                await self._news.wait()

    async def stop(self) -> None:
        """Stop it, if it runs; nobody listens on return."""
        if self._process is None or self._reading is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()
        await self._reading
        self._process = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _trace: object
    ) -> None:
        await self.stop()
        if error is not None:
            error.add_note("\n".join(self.log))

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(line.decode().rstrip())
            self._news.set()
        self._news.set()


@dataclass
class Knot(Daemon):
    """An authoritative server.

    Attributes:
        zones: records by zone, without SOA and NS, names relative to it; the root is
            there in any case.
        signed: zones that it signs with keys of its own.
    """

    zones: Mapping[str, str] = field(default_factory=dict)
    signed: frozenset[str] = frozenset()

    @property
    def command(self) -> Sequence[str]:
        return ("knotd", "-c", str(self._conf))

    @property
    def ready(self) -> str:
        return "server started"

    @property
    def _conf(self) -> Path:
        return self.folder / "knot.conf"

    async def start(self) -> None:
        """Write the zones as they are now, and start."""
        (self.folder / "keys").mkdir(parents=True, exist_ok=True)
        text = _KNOT.format(port=self.port, folder=self.folder)
        for zone, records in {".": "", **self.zones}.items():
            text += f'  - domain: "{zone}"\n    file: "zone.{zone}"\n'
            if zone in self.signed:
                # What is signed stays in memory.
                text += "    dnssec-signing: on\n    zonefile-sync: -1\n"
            head = _HEAD.format(origin=_absolute(zone))
            (self.folder / f"zone.{zone}").write_text(head + records)
        self._conf.write_text(text)
        await super().start()

    async def anchor(self, zone: str) -> str:
        """Return the DS record of a signed zone."""
        process = await asyncio.create_subprocess_exec(
            *("keymgr", "-c", str(self._conf), zone, "ds"),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        # One line for each kind of digest; SHA-256 is 2.
        [line] = [
            each for each in said.decode().splitlines() if each.split()[-2] == "2"
        ]
        return line


@dataclass
class Unbound(Daemon):
    """A recursive resolver.

    Attributes:
        stubs: port on 127.0.0.1 that answers for a zone; ``"."`` for all others.
        server: lines of its section ``server``.
    """

    stubs: Mapping[str, int] = field(default_factory=dict)
    server: Sequence[str] = ()

    @property
    def command(self) -> Sequence[str]:
        return ("unbound", "-d", "-p", "-c", str(self._conf))

    @property
    def ready(self) -> str:
        return "start of service"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def _conf(self) -> Path:
        return self.folder / "unbound.conf"

    async def start(self) -> None:
        """Write its settings as they are now, and start."""
        self.folder.mkdir(exist_ok=True)
        more = "".join(f"    {line}\n" for line in self.server)
        text = _UNBOUND.format(port=self.port, folder=self.folder, more=more)
        for zone, port in self.stubs.items():
            text += _STUB.format(zone=_absolute(zone), port=port)
        self._conf.write_text(text)
        await super().start()

    async def statistics(self) -> dict[str, float]:
        """Return its counters."""
        process = await asyncio.create_subprocess_exec(
            *("unbound-control", "-c", str(self._conf), "stats_noreset"),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        pairs = (line.partition("=") for line in said.decode().splitlines())
        return {name: float(value) for name, _, value in pairs}


class Names:
    """Knot and Unbound together. Use as ``async with Names(…) as names``.

    Args:
        folder: for both; made here.
        zones: see :class:`Knot`.
        signed: zones that are signed, and that Unbound validates.
        bogus: zones of which Unbound trusts another key than the one that signs.
        stubs: zones that another port of 127.0.0.1 answers for.
        server: further lines for Unbound.
    """

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, str],
        *,
        signed: Sequence[str] = (),
        bogus: Sequence[str] = (),
        stubs: Mapping[str, int] | None = None,
        server: Sequence[str] = (),
    ) -> None:
        folder.mkdir()
        self.knot = Knot(
            folder / "knot", zones=zones, signed=frozenset((*signed, *bogus))
        )
        self._own = {".": self.knot.port, **dict.fromkeys(zones, self.knot.port)}
        self.unbound = Unbound(
            folder / "unbound",
            stubs={**self._own, **(stubs or {})},
            server=("extended-statistics: yes", *server),
        )
        self._bogus = frozenset(bogus)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.knot)
            anchors = []
            for zone in self.knot.signed:
                record = await self.knot.anchor(zone)
                if zone in self._bogus:
                    head, _, digest = record.rpartition(" ")
                    record = f"{head} {_other(digest)}"
                anchors.append(f'trust-anchor: "{record}"')
            self.unbound.server = (*self.unbound.server, *anchors)
            await stack.enter_async_context(self.unbound)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, _trace: object
    ) -> None:
        await self._stack.__aexit__(type(error) if error else None, error, None)


def _absolute(zone: str) -> str:
    return zone if zone.endswith(".") else f"{zone}."


def _other(digest: str) -> str:
    """Return a digest that is not ``digest``."""
    return f"{int(digest, 16) ^ 1:0{len(digest)}x}"
