r"""What a server reads: command lines, and message content up to its final dot.

Both readers are fed octets as they come and give the same answers wherever the stream was
cut. Only CRLF ends a line and only ``CRLF . CRLF`` ends content. A bare CR, a bare LF or a
NUL anywhere is a violation, also in content that will be refused anyway and from whoever
is trusted: a reader that forgives them sees other messages than its neighbours do (SMTP
smuggling). After a violation the stream means nothing any more; the connection must end.

Theory of operation: content is scanned in the chunks in which it came, never by lines. The
reader pretends that a CRLF stands before the first octet, so that a first line of ``.`` is
no special case, and holds back at most four octets that may begin an end mark. What is
cleared goes to a header buffer until the empty line, then to one growing body buffer, so
that memory is what the message is, however it was cut. Who drives the reader may take what
the body buffer holds at any time, to keep it elsewhere.

Standards: RFC 5321 §2.3.8 (lines), §4.1.1.4 and §4.5.2 (DATA, transparency), §4.5.3.1
(sizes).
"""

from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import Final

from mailwright.reply import Phase, Reply, local_reply

#: No command is longer; RFC 4954 §4 asks for this much for AUTH.
MAX_LINE_OCTETS: Final = 12_288
_END: Final = b"\r\n.\r\n"
_PLAIN: Final = bytes(octet for octet in range(256) if octet not in b"\r\n\0")
_BEGINNINGS: Final = tuple(_END[:length] for length in (4, 3, 2, 1))


class LineFault(Enum):
    """Why there is no command line, and never will be on this connection."""

    STRAY = "bare CR, bare LF or NUL in a command"
    ENDLESS = "command line too long"


class LineReader:
    """Cuts a stream into command lines."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held that was fed."""
        return self._at == len(self._buffer)

    def feed(self, octets: bytes) -> None:
        """Add what was read from the peer."""
        self._buffer = self._buffer[self._at :] + octets
        self._at = 0

    def next_line(self) -> bytes | LineFault | None:
        """Return the next line without its CRLF, a fault, or ``None`` until more is fed.

        At most :data:`MAX_LINE_OCTETS` (with CRLF) are ever held for one line.
        """
        if self._at == len(self._buffer):
            return None
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            held = len(self._buffer) - self._at
            return LineFault.ENDLESS if held >= MAX_LINE_OCTETS else None
        if end - self._at >= MAX_LINE_OCTETS:
            return LineFault.ENDLESS
        line = self._buffer[self._at : end]
        self._at = end + 1
        # Every LF follows a CR, and no other CR is in the line (RFC 5321 §2.3.8).
        if line.find(b"\r") != len(line) - 1 or not line or b"\0" in line:
            return LineFault.STRAY
        return line[:-1]

    def take_rest(self) -> bytes:
        """Return what is held and forget it: what follows DATA is no command."""
        rest = self._buffer[self._at :]
        self._buffer = b""
        self._at = 0
        return rest


@dataclass(frozen=True, slots=True)
class Content:
    r"""A message as it came, dots un-stuffed.

    Attributes:
        header: header section with its final empty line. One is added to a message that
            has none (no body, RFC 5322 §3.5).
        body: what follows, behind what :meth:`DataReader.take_body` gave before. The
            body as a whole ends with CRLF unless it is empty.
    """

    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class ContentEnd:
    """Nothing more of this message will come.

    Attributes:
        outcome: the content, or why it is refused (phase ``dot``).
        rest: what came behind the final dot: the next commands.
        must_close: the peer broke the framing.
    """

    outcome: Content | Reply
    rest: bytes = b""
    must_close: bool = False


class DataReader:
    """Reads one message after 354.

    Args:
        max_octets: of header and body together, dots un-stuffed.
        max_header_octets: of the header section with its empty line.
    """

    __slots__ = (
        "_body",
        "_header",
        "_held",
        "_is_in_header",
        "_max_header_octets",
        "_max_octets",
        "_octets",
        "_refusal",
    )

    def __init__(self, *, max_octets: int, max_header_octets: int) -> None:
        self._max_octets = max_octets
        self._max_header_octets = max_header_octets
        self._held = b"\r\n"
        self._octets = -2  # the pretended CRLF is not the peer's
        self._header = bytearray()
        self._body = BytesIO()
        self._is_in_header = True
        self._refusal: Reply | None = None

    @property
    def is_discarding(self) -> bool:
        """Whether the message is refused already, and only its end is looked for."""
        return self._refusal is not None

    @property
    def held_octets(self) -> int:
        """What is held of header and body together."""
        return len(self._header) + self._body.tell()

    @property
    def held_body_octets(self) -> int:
        """What is held of the body: what :meth:`take_body` would give."""
        return self._body.tell()

    def take_body(self) -> bytes:
        """Return what is held of the body, dots un-stuffed, and forget it.

        It still counts for the size of the message; all that was taken and the body of
        the :class:`Content` are the whole, in this order. Copies nothing.
        """
        taken = self._body.getvalue()
        self._body = BytesIO()
        return taken

    def refuse(self, reply: Reply) -> None:
        """Store no more, forget what was stored, and end with ``reply``.

        The first refusal wins.
        """
        if self._refusal is None:
            self._refusal = reply
        self._header = bytearray()
        self._body = BytesIO()

    def feed(self, octets: bytes) -> ContentEnd | None:
        """Take what was read; return the end of the message when it is there.

        Cost: about two nanoseconds an octet.
        """
        held = self._held
        octets = held + octets if held else octets
        rest = b""
        has_ended = False
        dot = octets.find(b"\r\n.")
        end = octets.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            has_ended = True
            rest = octets[end + len(_END) :]
            cleared = octets[: end + 2]
        else:
            count = _held_back(octets)
            self._held = octets[len(octets) - count :]
            cleared = octets[: len(octets) - count]
        # Every CR, LF and NUL must be one half of a CRLF.
        halves = len(cleared.translate(None, _PLAIN))
        if halves != 2 * cleared.count(b"\r\n"):
            self.refuse(_STRAY)
            return ContentEnd(_STRAY, must_close=True)
        if dot >= 0:
            # RFC 5321 §4.5.2: the first octet of a line that begins with a dot goes.
            cleared = cleared.replace(b"\r\n.", b"\r\n")
        self._octets += len(cleared)
        if self._refusal is None:
            self._store(cleared)
        return ContentEnd(self._finish(), rest) if has_ended else None

    def _store(self, octets: bytes) -> None:
        if self._octets > self._max_octets:
            self.refuse(_too_big(f"message over {self._max_octets} octets"))
        elif not self._is_in_header:
            self._body.write(octets)
        elif octets:
            self._store_header(octets)

    def _store_header(self, octets: bytes) -> None:
        header = self._header
        searched = max(0, len(header) - 3)
        header += octets
        end = header.find(b"\r\n\r\n", searched)
        length = end + 4 if end >= 0 else len(header)
        if length - 2 > self._max_header_octets:
            self.refuse(
                _too_big(f"header section over {self._max_header_octets} octets")
            )
        elif end >= 0:
            self._is_in_header = False
            self._body.write(memoryview(octets)[len(octets) - (len(header) - length) :])
            del header[length:]

    def _finish(self) -> Content | Reply:
        if self._octets > self._max_octets:
            # It may have been refused for less before it grew too big.
            return _too_big(f"message over {self._max_octets} octets")
        if self._refusal is not None:
            return self._refusal
        if self._is_in_header:
            self._header += b"\r\n"
        # The buffer is handed over, not copied.
        return Content(bytes(memoryview(self._header)[2:]), self._body.getvalue())


def _held_back(octets: bytes) -> int:
    """Return how many octets at the end may be the beginning of an end mark."""
    if octets.endswith(_BEGINNINGS):
        for beginning in _BEGINNINGS:
            if octets.endswith(beginning):
                return len(beginning)
    return 0


def _too_big(text: str) -> Reply:
    return local_reply(552, "5.3.4", text, Phase.DOT)


_STRAY: Final = local_reply(
    550, "5.5.2", "bare CR, bare LF or NUL in the message", Phase.DOT
)
