"""What one connection can do to the others: endless, enormous, and very slow input.

While each attack runs, honest clients submit, and a process of its own asks NOOP again
and again: the node may not grow by more than 64 MB, nor keep that one waiting. Each
attack also has its documented end. Control: aiosmtpd as it comes, and one of them.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.node_process import API_KEY
from faults.bystanders import DOMAIN, Scene, scene_of
from faults.ledger import Row, Size
from faults.pulse import MOST_DELAY_S, MOST_MEMORY, Pulse, pulse_of

_HERE = Path(__file__).parent
_MB = 1_000_000
_PATIENCE_S = 300.0
_ENVELOPE = (
    b"EHLO client.example.com\r\nMAIL FROM:<a@example.com>\r\n"
    b"RCPT TO:<big@%s>\r\nDATA\r\n" % DOMAIN.encode()
)
_HEADER = b"From: <a@example.com>\r\nSubject: x\r\n\r\n"
_MULTIPART = (
    b"From: <a@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\n%b\r\n"
    b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
)
_JSON_END = b'"}]}'
_CREATED = "HTTP/1.1 201"
_PIECE = 65_536


@dataclass(slots=True)
class Peer:
    """A client that does as it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    said: bytearray = field(default_factory=bytearray)
    is_over: bool = False

    async def send(self, octets: bytes) -> bool:
        """Send, waiting for room; false when the other side has gone."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self.writer.write(octets)
                await self.writer.drain()
        except OSError:
            return False
        return not self.writer.is_closing()

    async def pour(self, octets: int, piece: bytes) -> bool:
        """Send ``piece`` again and again, about ``octets`` in all."""
        many = max(1, _PIECE // len(piece))
        block = piece * many
        for _ in range(octets // len(block) + 1):
            if not await self.send(block):
                return False
        return True

    async def listen(self) -> None:
        """Keep what is said, to the end."""
        try:
            while octets := await self.reader.read(_PIECE):
                self.said += octets
        except OSError:
            pass  # reset: what was said before it may be lost
        finally:
            self.is_over = True

    async def heard(self, text: bytes) -> str:
        """Return the line that begins with ``text``, once it is there.

        Who closes while octets of ours are on their way resets the connection, and its
        last words may be lost with it: that is ``closed``.
        """
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                lines = bytes(self.said).split(b"\r\n")[:-1]
                for line in lines:
                    if line.startswith(text):
                        return line.decode("ascii", "replace")
                if self.is_over:
                    return "closed"
                await asyncio.sleep(0.01)


@asynccontextmanager
async def peer_at(address: tuple[str, int], *, listens: bool) -> AsyncIterator[Peer]:
    """Connect; with ``listens`` what is said is read all the time."""
    peer = Peer(*await asyncio.open_connection(*address))
    async with asyncio.TaskGroup() as tasks:
        if listens:
            tasks.create_task(peer.listen())
        try:
            yield peer
        finally:
            peer.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Attack:
    """What one client does.

    Attributes:
        run: does it, to the node or a control; returns what came of it.
        end: how that must begin.
        may_reset: whether the connection may be closed under what is still being sent.
    """

    name: str
    run: Callable[[tuple[str, int], Size], Awaitable[str]]
    end: str
    may_reset: bool = False

    def is_end(self, end: str) -> bool:
        """Whether ``end`` is how it must end."""
        return end.startswith(self.end) or (self.may_reset and end == "closed")


async def _content(
    address: tuple[str, int], octets: int, piece: bytes, header: bytes = _HEADER
) -> str:
    """Send a content of ``piece`` and its dot; return the answer to it.

    ``header`` is what stands before it, and may be the beginning of a body.
    """
    async with peer_at(address, listens=True) as peer:
        await peer.send(_ENVELOPE)
        await peer.heard(b"354")
        await peer.send(header)
        await peer.pour(octets, piece)
        await peer.send(b"\r\n.\r\nQUIT\r\n")
        await peer.heard(b"221")
        return _after_354(peer)


def _after_354(peer: Peer) -> str:
    _, _, rest = bytes(peer.said).partition(b"\r\n354 ")
    return b"\r\n".join(rest.split(b"\r\n")[1:]).decode() or "closed"


async def blank_lines(address: tuple[str, int], size: Size) -> str:
    """32 MB of lines with nothing in them: over the limit of a message."""
    return await _content(address, 32 * _MB, b"\r\n")


async def blank_message(address: tuple[str, int], size: Size) -> str:
    """12 MB of them, which may be taken; signed and delivered they must be."""
    return await _content(address, 12 * _MB, b"\r\n")


async def dots(address: tuple[str, int], size: Size) -> str:
    """Lines of dots: each is doubled on its way."""
    return await _content(address, 12 * _MB, b"..\r\n")


async def long_line(address: tuple[str, int], size: Size) -> str:
    """One line that is too long to leave, and millions that are short."""
    text = _HEADER + b"x" * 1_200 + b"\r\n"
    return await _content(address, 20 * _MB, b"ab\r\n", text)


async def text_and_attachment(address: tuple[str, int], size: Size) -> str:
    """As much text as is re-encoded, each octet as three, beside a large attachment."""
    text = b"\xe9" * 1_200 + b"\r\n"
    beginning = _MULTIPART % (text * (2 * _MB // len(text)))
    return await _content(address, 18 * _MB, b"QUJD" * 19 + b"\r\n", beginning)


async def recipients(address: tuple[str, int], size: Size) -> str:
    """20 000 RCPTs; return what became of them."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(b"EHLO client.example.com\r\nMAIL FROM:<a@example.com>\r\n")
        for number in range(20_000):
            await peer.send(b"RCPT TO:<r%d@%s>\r\n" % (number, DOMAIN.encode()))
        await peer.send(b"QUIT\r\n")
        await peer.heard(b"221")
        said = bytes(peer.said)
        taken, refused = said.count(b"250 2.1.5"), said.count(b"452 4.5.3")
        return f"{taken} taken, {refused} refused"


async def endless_command(address: tuple[str, int], size: Size) -> str:
    """A command line without an end."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(b"EHLO client.example.com\r\nMAIL FROM:<")
        await peer.pour(64 * _MB, b"x")
        return await peer.heard(b"500")


async def endless_login(address: tuple[str, int], size: Size) -> str:
    """Likewise, where a response to AUTH is awaited."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(b"EHLO client.example.com\r\nAUTH PLAIN " + b"A" * 400)
        await peer.pour(64 * _MB, b"A")
        return await peer.heard(b"500")


async def endless_header(address: tuple[str, int], size: Size) -> str:
    """A header section without an end."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(_ENVELOPE)
        await peer.heard(b"354")
        await peer.send(b"From: <a@example.com>\r\n")
        await peer.pour(64 * _MB, b"X-Endless: yes\r\n")
        await peer.send(b"\r\n.\r\nQUIT\r\n")
        await peer.heard(b"221")
        return _after_354(peer)


async def endless_line(address: tuple[str, int], size: Size) -> str:
    """A line of a body without an end, and no dot."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(_ENVELOPE)
        await peer.heard(b"354")
        await peer.send(_HEADER)
        await peer.pour(96 * _MB, b"x")
        await peer.send(b"\r\n.\r\nQUIT\r\n")
        await peer.heard(b"221")
        return _after_354(peer)


async def unread_replies(address: tuple[str, int], size: Size) -> str:
    """Commands by the million, and no reply is ever read."""
    async with peer_at(address, listens=False) as peer:
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await peer.send(b"EHLO client.example.com\r\n")
                while sent < 64 * _MB and await peer.send(b"NOOP\r\n" * 10_000):
                    sent += 60_000
        return "stopped" if sent < 48 * _MB else f"{sent} octets of commands were read"


async def wrong_commands(address: tuple[str, int], size: Size) -> str:
    """2 000 lines that are no commands."""
    async with peer_at(address, listens=True) as peer:
        for _ in range(2_000):
            if not await peer.send(b"MAKE ME A SANDWICH\r\n"):
                break
        return await peer.heard(b"421")


async def trickle(address: tuple[str, int], size: Size) -> str:
    """A message octet by octet, each in a packet of its own."""
    async with peer_at(address, listens=True) as peer:
        await peer.send(_ENVELOPE)
        await peer.heard(b"354")
        content = (_HEADER + b"slow\r\n" * 1_000)[: size.pick(400, 4_000)]
        for octet in content:
            await peer.send(bytes((octet,)))
            await asyncio.sleep(0.001)
        await peer.send(b"\r\n.\r\nQUIT\r\n")
        await peer.heard(b"221")
        return _after_354(peer)


async def endless_request(http: tuple[str, int], size: Size) -> str:
    """A body of a request without an end, in small chunks."""
    async with peer_at(http, listens=True) as peer:
        await peer.send(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            % API_KEY.encode()
        )
        await peer.pour(96 * _MB, b"10\r\n" + b" " * 16 + b"\r\n")
        return await peer.heard(b"HTTP/1.1")


async def endless_fields(http: tuple[str, int], size: Size) -> str:
    """A header of a request without an end."""
    async with peer_at(http, listens=True) as peer:
        await peer.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        await peer.pour(64 * _MB, b"X-Endless: yes\r\n")
        return await peer.heard(b"HTTP/1.1")


async def file_as_json(http: tuple[str, int], size: Size) -> str:
    """A message of 16 MB whose file is base64 in JSON."""
    head = b'{"from": "a@example.com", "to": ["big@%s"], "text": "x", "attachments": ['
    head = head % DOMAIN.encode() + b'{"filename": "a.bin", "content": "'
    pieces = 16 * _MB // 3 * 4 // _PIECE
    length = len(head) + pieces * _PIECE + len(_JSON_END)
    async with peer_at(http, listens=True) as peer:
        await peer.send(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (API_KEY.encode(), length)
        )
        await peer.send(head)
        for _ in range(pieces):
            await peer.send(b"QUJD" * (_PIECE // 4))
        await peer.send(_JSON_END)
        return await peer.heard(b"HTTP/1.1")


SMTP_ATTACKS = (
    Attack("blank lines, 32 MB", blank_lines, "552 5.3.4"),
    Attack("blank lines, 12 MB", blank_message, "250 2.0.0"),
    Attack("lines of dots", dots, "250 2.0.0"),
    Attack("one long line", long_line, "250 2.0.0"),
    Attack("text and attachment", text_and_attachment, "250 2.0.0"),
    Attack("20 000 RCPTs", recipients, "1000 taken, 19000 refused"),
    Attack("endless command", endless_command, "500 5.", may_reset=True),
    Attack("endless login", endless_login, "500 5.", may_reset=True),
    Attack("endless header", endless_header, "552 5.3.4"),
    Attack("endless line", endless_line, "552 5.3.4"),
    Attack("unread replies", unread_replies, "stopped"),
    Attack("wrong commands", wrong_commands, "421 4.7.0", may_reset=True),
    Attack("trickle", trickle, "250 2.0.0"),
)
HTTP_ATTACKS = (
    Attack("file as JSON", file_as_json, _CREATED),
    Attack("endless request", endless_request, "HTTP/1.1 413", may_reset=True),
    Attack("endless fields", endless_fields, "HTTP/1.1 4", may_reset=True),
)


async def _under(scene: Scene, attack: Attack, size: Size) -> tuple[Pulse, str]:
    """Attack for some seconds, while others submit and one asks.

    The connections come one after the other; the first end that is wrong counts.
    """
    door = scene.node.http if attack in HTTP_ATTACKS else scene.node.smtp
    loop = asyncio.get_running_loop()
    async with (
        asyncio.TaskGroup() as tasks,
        pulse_of(scene.node.smtp, scene.node.pid) as pulse,
    ):
        honest = tasks.create_task(scene.submit_for_ever())
        until = loop.time() + size.pick(2, 6)
        try:
            end = await attack.run(door, size)
            while attack.is_end(end):
                if end.startswith(("250", _CREATED)):
                    # What the node makes of it belongs to it.
                    await scene.wait_taken("big")
                if loop.time() >= until:
                    break
                end = await attack.run(door, size)
        finally:
            honest.cancel()
    return pulse, end


async def _control(size: Size) -> Pulse:
    """Let aiosmtpd as it comes take a quarter of the blank lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_HERE / "stock_door.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        address = ("127.0.0.1", int(await process.stdout.readline()))
        async with pulse_of(address, process.pid) as pulse:
            await _content(address, 8 * _MB, b"\r\n")
        return pulse
    finally:
        process.kill()
        await process.wait()


async def run(folder: Path, size: Size) -> Row:
    """Attack in each way."""
    attacks: Sequence[Attack] = (*SMTP_ATTACKS, *HTTP_ATTACKS)
    complaints = []
    worst_memory, worst_delay, worst_bare = 0, 0.0, 0.0
    async with scene_of(folder, "node") as scene:
        for attack in attacks:
            pulse, end = await _under(scene, attack, size)
            most_s = size.budget(MOST_DELAY_S)
            worst_memory = max(worst_memory, pulse.memory)
            if pulse.p99_s >= worst_delay:
                worst_delay, worst_bare = pulse.p99_s, pulse.bare_p99_s
            figures = (
                f"{attack.name}: {end.splitlines()[0] if end else 'closed'!r}, "
                f"+{pulse.memory >> 20} MB, p99 {pulse.p99_s * 1000:.1f} ms, "
                f"bare {pulse.bare_p99_s * 1000:.1f} ms"
            )
            if not (attack.is_end(end) and pulse.is_lean and pulse.is_prompt(most_s)):
                complaints.append(figures)
        complaints += scene.refused
        lost = await scene.lost()
        if "Traceback" in scene.node.text:
            complaints.append(scene.node.text[-500:])
    control = await _control(size)
    return Row(
        "one client against others",
        len(attacks),
        len(scene.book.acknowledged),
        lost,
        len(complaints),
        control.memory > MOST_MEMORY
        and not control.is_prompt(size.budget(MOST_DELAY_S)),
        {
            "worst_memory_mb": worst_memory >> 20,
            "worst_noop_p99_ms": round(worst_delay * 1000, 1),
            "bare_loop_p99_ms": round(worst_bare * 1000, 1),
            "control_memory_mb": control.memory >> 20,
            "control_noop_p99_ms": round(control.p99_s * 1000, 1),
        },
        tuple(complaints),
    )
