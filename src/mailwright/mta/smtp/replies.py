"""Replies of a server, from octets: incremental, bounded, total.

:class:`ReplyParser` takes octets as they come and gives whole replies. What is no reply
is a :class:`Malformed` value, never an exception, and ends the parser: after it nothing
that the peer says can be paired with a command any more.

Decisions where servers differ:

* A line may end with a bare LF. A reply carries nothing that could be smuggled, and
  every reply is paired with one command, so this cannot desynchronise us.
* ``250`` without a blank and text is a reply (RFC 5321 §4.2 asks clients to take it);
  ``250ok`` is not.
* All lines of a reply have one code (§4.2.1). Where they disagree there is no telling
  which one is meant, so the reply is malformed.

Standards: RFC 5321 §4.2, RFC 2034 §4 and RFC 3463 (enhanced codes).
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from mailwright.reply import Phase, Reply

#: RFC 5321 §4.5.3.1.5 allows 512; servers send more, so four times that is taken.
MAX_LINE_OCTETS: Final = 2_048
#: Lines of one reply. An EHLO response has some thirty at most.
MAX_LINES: Final = 100
#: Octets of one reply, line ends included.
MAX_REPLY_OCTETS: Final = 65_536
#: Characters of a reply's text that are kept.
MAX_TEXT: Final = 2_000

_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\n]*))?\r?\n")
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]+|\Z)")
#: C0, C1, DEL and what else moves a line or its direction on a terminal.
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
)


class ServerReply(NamedTuple):
    """One whole reply as it came.

    Attributes:
        code: 200–599.
        lines: the text of each line, without code and line end; at least one.
    """

    code: int
    lines: tuple[bytes, ...]

    @property
    def code_class(self) -> int:
        """The first digit: 2, 3, 4 or 5 (RFC 5321 §4.2.1)."""
        return self.code // 100


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no reply; ``reason`` is ours and holds nothing of the peer's."""

    reason: str


Parsed: TypeAlias = ServerReply | Malformed


class ReplyParser:
    """Octets in, replies out. Keeps at most one reply and one read of the socket."""

    __slots__ = ("_buffer", "_fault", "_lines", "_octets", "_position")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0  # of the first octet that is not taken yet
        self._lines: list[tuple[bytes, bytes]] = []  # of a reply begun: code, text
        self._octets = 0
        self._fault: Malformed | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no octet waits, neither of a reply begun nor of another one."""
        return self._position == len(self._buffer) and not self._lines

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        if self._fault is None:
            # What is left of a read is less than a line once `next_reply` gave None.
            self._buffer = self._buffer[self._position :] + data
            self._position = 0

    def clear(self) -> None:
        """Forget everything: no octet of before is a reply any more."""
        self._fault = None
        self._buffer = b""
        self._position = 0
        self._lines = []
        self._octets = 0

    def next_reply(self) -> Parsed | None:
        """Return the next whole reply, or ``None`` when more octets are needed.

        Once malformed, always malformed.
        """
        while self._fault is None:
            begin = self._position
            match = _LINE.match(self._buffer, begin)
            if match is None:
                if not self._is_unfinished(begin):
                    break
                return None
            octets = match.end() - begin
            if octets > MAX_LINE_OCTETS:
                return self._fail("reply line too long")
            self._position = match.end()
            code, mark, text = match.groups(b"")
            if mark != b"-" and not self._lines:
                return ServerReply(int(code), (text.removesuffix(b"\r"),))
            reply = self._collect(code, mark, text.removesuffix(b"\r"), octets)
            if reply is not None:
                return reply
        return self._fault

    def _is_unfinished(self, begin: int) -> bool:
        """Return whether what is left may still become a line; else fail."""
        limit = begin + MAX_LINE_OCTETS
        if self._buffer.find(b"\n", begin, limit) >= 0:
            self._fail("reply line without a code")
            return False
        if len(self._buffer) >= limit:
            self._fail("reply line too long")
            return False
        return True

    def _collect(
        self, code: bytes, mark: bytes, text: bytes, octets: int
    ) -> Parsed | None:
        """Add a line of a reply with several; return what it ends, if it does."""
        lines = self._lines
        if lines and lines[0][0] != code:
            return self._fail("reply with codes that disagree")
        lines.append((code, text))
        self._octets += octets
        if mark != b"-":
            reply = ServerReply(int(code), tuple(text for _, text in lines))
            self._lines = []
            self._octets = 0
            return reply
        if len(lines) >= MAX_LINES or self._octets > MAX_REPLY_OCTETS:
            return self._fail("reply without an end")
        return None

    def _fail(self, reason: str) -> Malformed:
        self.clear()
        self._fault = fault = Malformed(reason)
        return fault


def to_reply(said: ServerReply, phase: Phase) -> Reply:
    """Return ``said`` as the noun that the rest of the node works with.

    The enhanced code counts only if its class is that of the code (RFC 2034 §4), and is
    then cut from every line that repeats it. Control characters become blanks.
    """
    texts = [
        _CONTROLS.sub(" ", line.decode("utf-8", "replace")).strip()
        for line in said.lines
    ]
    enhanced = ""
    match = _ENHANCED.match(texts[0])
    if match is not None and int(match[1][0]) == said.code // 100:
        enhanced = match[1]
        texts = [_without(enhanced, text) for text in texts]
    text = " ".join(text for text in texts if text)
    return Reply(said.code, enhanced, text[:MAX_TEXT], phase)


def _without(enhanced: str, text: str) -> str:
    match = _ENHANCED.match(text)
    return text[match.end() :] if match is not None and match[1] == enhanced else text
