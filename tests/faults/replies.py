"""Receivers that talk without end, in drops, nonsense, or not at all; and that reset.

Each behaviour has a domain and an expectation. Beside all of them an honest receiver is
served, and the node neither grows nor stalls. Control: a node that believes a reply to be
as long as it likes, and silence after the dot to be consent.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.node_process import SERVE, Hop
from fakes.submitting import Letter, SmtpClient
from faults.bystanders import Scene, scene_of
from faults.ledger import Row, Size
from faults.outcomes import (
    AMBIGUOUS,
    DELIVERED,
    TIMEOUTS,
    Expected,
    Verdict,
    judge,
    outcomes,
)
from faults.pulse import Pulse, pulse_of

_CONTROL = (str(Path(__file__).with_name("credulous_node.py")),)
#: What is wrong with the control is in its own process.
_CONTROL_DELIVERY = "session_processes = 0"
_RCPT = re.compile(rb"RCPT TO:<([^>]*)>")
_USUAL = {
    b"EHLO": b"250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"HELO": b"250 mx\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"DATA": b"354 go\r\n",
    b".": b"250 2.0.0 taken\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


@dataclass(slots=True)
class Peer:
    """One connection of a receiver.

    Attributes:
        taken: recipients of contents that were read to their dot.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    taken: Counter[str]
    _recipient: str = ""
    _is_content: bool = False

    async def command(self) -> bytes:
        """Return the verb of the next command, ``.`` for a content; nothing at the end."""
        if self._is_content:
            self._is_content = False
            while (line := await self.reader.readline()) != b".\r\n":
                if not line:
                    return b""
            self.taken[self._recipient] += 1
            return b"."
        line = await self.reader.readline()
        if found := _RCPT.match(line):
            self._recipient = found[1].decode()
        return line[:4].strip().upper()

    async def say(self, octets: bytes) -> None:
        """Say it, and wait until it is on its way."""
        self.writer.write(octets)
        if octets.startswith(b"354"):
            self._is_content = True
        await self.writer.drain()

    async def drip(self, octets: bytes, gap_s: float) -> None:
        """Say it octet by octet."""
        for octet in octets:
            await self.say(bytes((octet,)))
            await asyncio.sleep(gap_s)

    async def serve(self, step: bytes = b"") -> bool:
        """Be a good receiver up to ``step``, which is not answered; true when it came."""
        if step == b"banner":
            return True
        await self.say(b"220 mx\r\n")
        while verb := await self.command():
            if verb == step:
                return True
            await self.say(_USUAL.get(verb, b"500 5.5.2 what\r\n"))
        return False

    def reset(self) -> None:
        """Close by RST: what is on its way is lost."""
        connection = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Manner = Callable[[Peer], Awaitable[None]]


def _says(step: bytes, octets: bytes) -> Manner:
    """Answer ``step`` with ``octets``, then be silent until the other side has gone."""

    async def behave(peer: Peer) -> None:
        if await peer.serve(step):
            await peer.say(octets)
            await peer.reader.read()

    return behave


def _ends(step: bytes, octets: bytes = b"") -> Manner:
    """Answer ``step`` with ``octets``, and close."""

    async def behave(peer: Peer) -> None:
        if await peer.serve(step):
            await peer.say(octets)

    return behave


def _resets(step: bytes) -> Manner:
    async def behave(peer: Peer) -> None:
        if await peer.serve(step):
            peer.reset()

    return behave


def _floods(step: bytes, octets: bytes) -> Manner:
    """Answer ``step`` with ``octets``, again and again."""

    async def behave(peer: Peer) -> None:
        if await peer.serve(step):
            while True:
                await peer.say(octets * 1_000)

    return behave


def _drips(step: bytes, octets: bytes, gap_s: float) -> Manner:
    """Answer ``step`` octet by octet, and go on as a good receiver would not."""

    async def behave(peer: Peer) -> None:
        if await peer.serve(step):
            while True:
                await peer.drip(octets, gap_s)

    return behave


async def _drips_all(peer: Peer) -> None:
    """Say everything octet by octet, yet say it."""
    await peer.drip(b"220 mx\r\n", 0.02)
    while verb := await peer.command():
        reply = _USUAL.get(verb, b"500 5.5.2 what\r\n")
        peer._is_content = verb == b"DATA"
        await peer.drip(reply, 0.02)


async def _resets_in_content(peer: Peer) -> None:
    if await peer.serve(b"DATA"):
        await peer.say(b"354 go\r\n")
        await peer.reader.readline()
        peer.reset()


async def _reads_nothing(peer: Peer) -> None:
    """Take the command, and none of the content."""
    if await peer.serve(b"DATA"):
        peer.writer.transport.pause_reading()
        await peer.say(b"354 go\r\n")
        await asyncio.sleep(60)


_LATE = Expected("deferred", "421 4.4.2 .*timed out")
_NONSENSE = Expected("deferred", "421 4.5.0")
_LOST = Expected("deferred", "421 4.4.[12] .*(closed|reset|lost)")
_NO_REPLY = Expected("deferred", "421 4.4.2 .* is no reply to DATA")
#: By domain (without ``.example``).
MANNERS: Mapping[str, tuple[Manner, Expected]] = {
    "drips-all": (_drips_all, DELIVERED),
    **{
        f"drips-{name}": (_drips(step, reply, 0.3), _LATE)
        for name, step, reply in (
            ("banner", b"banner", b"220-" + b"x" * 500),
            ("ehlo", b"EHLO", b"250-" + b"x" * 500),
            ("mail", b"MAIL", b"250-" + b"x" * 500),
        )
    },
    "drips-dot": (_drips(b".", b"250-" + b"x" * 500, 0.3), AMBIGUOUS),
    **{
        f"floods-{name}": (_floods(step, reply), _NONSENSE)
        for name, step, reply in (
            ("banner", b"banner", b"220-welcome\r\n"),
            ("ehlo", b"EHLO", b"250-WELCOME\r\n"),
            ("mail", b"MAIL", b"250-welcome\r\n"),
            ("line", b"banner", b"220 welcome"),
        )
    },
    "floods-dot": (_floods(b".", b"250-thanks\r\n"), AMBIGUOUS),
    "floods-unasked": (
        _floods(b"MAIL", b"250 2.1.0 ok\r\n"),
        _NO_REPLY,
    ),
    **{
        f"resets-{step.decode().lower()}": (_resets(step), _LOST)
        for step in (b"banner", b"EHLO", b"MAIL", b"RCPT", b"DATA")
    },
    # The system has taken the dot: whether it arrives, nobody here can know.
    "resets-content": (_resets_in_content, AMBIGUOUS),
    "resets-dot": (_resets(b"."), AMBIGUOUS),
    "half-a-verdict": (_ends(b".", b"250 2.0.0 que"), AMBIGUOUS),
    "silent-dot": (_says(b".", b""), AMBIGUOUS),
    "silent-banner": (_says(b"banner", b""), _LATE),
    "reads-nothing": (_reads_nothing, AMBIGUOUS),
    "binary": (_says(b"banner", bytes(range(256)) * 20), _NONSENSE),
    "http": (_says(b"banner", b"HTTP/1.1 400 Bad Request\r\n\r\n"), _NONSENSE),
    "code-999": (_says(b"MAIL", b"999 what\r\n"), _NONSENSE),
    "two-codes": (_says(b"MAIL", b"250-ok\r\n550 no\r\n"), _NONSENSE),
    "354-to-mail": (_says(b"MAIL", b"354 go\r\n"), _NONSENSE),
    "250-to-data": (_says(b"DATA", b"250 ok\r\n"), _NO_REPLY),
    "two-banners": (
        _says(
            b"banner", b"220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"
        ),
        Expected("deferred", "421 4."),
    ),
    "escapes": (
        _says(b"MAIL", b"550 5.7.1 \x1b[2J\x07\x00\x85no\xe2\x80\xa8way\r\n"),
        Expected("bounced", "550 5.7.1"),
    ),
    "long-refusal": (
        _says(
            b"MAIL",
            b"550-"
            + b"5.7.1 no\r\n550-" * 90
            + b"5.7.1 "
            + b"n" * 1_900
            + b"\r\n"
            + b"550 5.7.1 no\r\n",
        ),
        Expected("bounced", "550 5.7.1"),
    ),
}


@dataclass(slots=True)
class Receivers:
    """One server for each manner.

    Attributes:
        hops: routes to them.
        taken: recipients of contents that were read to their dot.
    """

    hops: list[Hop] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def receivers_of(manners: Mapping[str, Manner]) -> AsyncIterator[Receivers]:
    """Let each listen."""
    made = Receivers()

    def server_of(behave: Manner) -> Callable[..., Awaitable[None]]:
        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
                await behave(Peer(reader, writer, made.taken))
            writer.close()

        return serve

    async with AsyncExitStack() as stack:
        for name, behave in manners.items():
            server = await asyncio.start_server(server_of(behave), "127.0.0.1", 0)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
            made.hops.append(Hop(f"{name}.example", f"127.0.0.1:{port}", "commands"))
            stack.callback(server.close)
        yield made


async def _play(
    folder: Path,
    name: str,
    command: Sequence[str],
    manners: Mapping[str, tuple[Manner, Expected]],
    letters: int,
) -> tuple[Verdict, Scene, Pulse, int]:
    async with (
        receivers_of({key: manner for key, (manner, _) in manners.items()}) as made,
        scene_of(
            folder,
            name,
            command=command,
            more=TIMEOUTS,
            delivery="" if command == SERVE else _CONTROL_DELIVERY,
            routes=made.hops,
        ) as scene,
    ):
        table = {f"{key}.example": expected for key, (_, expected) in manners.items()}
        acknowledged = []
        async with (
            asyncio.TaskGroup() as tasks,
            pulse_of(scene.node.smtp, scene.node.pid) as pulse,
        ):
            honest = tasks.create_task(scene.submit_for_ever())
            client = await SmtpClient.connect(scene.node.smtp)
            for domain in table:
                for number in range(letters):
                    octets = 2_000_000 if domain.startswith("reads") else 600
                    recipient = f"{number}@{domain}"
                    await client.submit(Letter("x", (recipient,), octets))
                    acknowledged.append(recipient)
            await client.close()
            found = await outcomes(scene.node, table, letters)
            honest.cancel()
        lost = await scene.lost()
        verdict = judge(scene.node, table, found, acknowledged, made.taken.__getitem__)
        verdict.lost += lost
        verdict.acknowledged += len(scene.book.acknowledged)
        verdict.complaints += scene.refused
        if "Traceback" in scene.node.text:
            verdict.complaints.append(scene.node.text[-500:])
    return verdict, scene, pulse, lost


async def run(folder: Path, size: Size) -> Row:
    """Send to each of them, while others send to somebody else."""
    letters = size.pick(2, 10)
    found, scene, pulse, _ = await _play(folder, "node", SERVE, MANNERS, letters)
    if not pulse.is_lean:
        found.complaints.append(f"+{pulse.memory >> 20} MB")
    some = {
        name: MANNERS[name] for name in ("floods-banner", "floods-ehlo", "resets-dot")
    }
    control, *_ = await _play(folder, "control", _CONTROL, some, letters)
    return Row(
        "receivers that talk nonsense",
        len(MANNERS),
        found.acknowledged,
        found.lost,
        len(found.complaints),
        bool(control.complaints),
        {
            "honest_letters": len(scene.book.acknowledged),
            "memory_mb": pulse.memory >> 20,
            "noop_p99_ms": round(pulse.p99_s * 1000, 1),
            "bare_loop_p99_ms": round(pulse.bare_p99_s * 1000, 1),
            "control_complaints": len(control.complaints),
        },
        tuple(found.complaints[:40]),
    )
