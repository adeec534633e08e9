"""Where the leaves of a MIME message are, as octet ranges.

The walk looks once at each line that starts with ``--`` and at the header of each part;
it decodes nothing and copies only headers of parts. Its limits make hostile structure cheap:
beyond them the message has no leaves that anyone may edit, and goes as it is.

Where readers differ (a boundary given twice, a header with stray lines, a delimiter in
the middle of a part's header) the part or the message counts as broken: an edit there
could change what somebody sees.

Standards: RFC 2045 §5 (Content-Type), §6 (Content-Transfer-Encoding), RFC 2046 §5.1
(multipart).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from mailwright.message import Field, fields, find, unfold

MAX_DEPTH: Final = 30
MAX_PARTS: Final = 1000
MAX_DASH_LINES: Final = 20_000
MAX_PART_HEADER_OCTETS: Final = 16_384
MAX_PART_HEADERS_OCTETS: Final = 262_144  # of all parts together
_MAX_CONTENT_TYPE_OCTETS: Final = 4096
_MAX_PARAMETERS: Final = 64

_DASHES: Final = re.compile(rb"--([^\r\n]*+)")
_DASH_LINE: Final = re.compile(rb"\r\n--([^\r\n]*+)")
_MEDIA_TYPE: Final = re.compile(rb"([^\s/;()\"]+)[ \t]*/[ \t]*([^\s/;()\"]+)")
_PARAMETER: Final = re.compile(
    rb";[ \t]*+([^\s=;\"]++)[ \t]*+=[ \t]*+"
    rb"(?:\"((?:[^\"\\]|\\.)*)(?:\"|\Z)|([^\s;\"]*+))",
    re.DOTALL,
)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_ENCODING: Final = re.compile(rb"[^\s;()]+")
_IDENTITY: Final = frozenset((b"", b"7bit", b"8bit", b"binary"))
#: Multiparts whose octets are covered by a signature or an encryption (RFC 1847).
_COVERING: Final = frozenset((b"multipart/signed", b"multipart/encrypted"))


class MimeFault(StrEnum):
    """Why the structure of a whole message is left alone."""

    DEEP = "parts nested more than 30 deep"
    MANY_PARTS = "more than 1000 parts"
    LONG_HEADERS = "headers of parts too long"
    MANY_LINES = "too many lines that look like a delimiter"
    BROKEN = "broken MIME"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part without parts. Offsets count in the header section and the body behind it.

    Attributes:
        header_start: of its header section.
        body_start: after the header section's empty line.
        body_end: before the CRLF that belongs to the next delimiter.
        encoding_field: range of its Content-Transfer-Encoding field, or ``None``.
        is_text: ``text/*`` in an identity encoding, with a sound header.
        cover: the multipart that signs or encrypts it, or ``""``.
    """

    header_start: int
    body_start: int
    body_end: int
    encoding_field: tuple[int, int] | None
    is_text: bool
    cover: str


@dataclass(frozen=True, slots=True)
class _Entity:
    """A part whose header was read and whose end is not yet known."""

    header_start: int
    body_start: int
    is_sound: bool
    media_type: bytes = b""
    encoding: bytes = b""
    encoding_field: tuple[int, int] | None = None
    boundary: bytes = b""

    def ended(self, end: int, cover: str) -> Leaf:
        is_text = self.is_sound and self.media_type.startswith(b"text/")
        return Leaf(
            self.header_start,
            self.body_start,
            max(end, self.body_start),
            self.encoding_field,
            is_text and self.encoding in _IDENTITY,
            cover,
        )


@dataclass(slots=True)
class _Walk:
    """The multiparts that are open at one place of the walk, outermost first.

    Attributes:
        body: of the message; its first octet has the offset ``begins``.
    """

    body: bytes
    begins: int
    boundaries: list[bytes] = field(default_factory=list)
    kinds: list[bytes] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    parts: int = 0
    part_header_octets: int = 0
    part: _Entity | None = None

    def enter(self, entity: _Entity) -> MimeFault | None:
        """Take in a part whose header was just read."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            return MimeFault.MANY_PARTS
        self.part_header_octets += entity.body_start - entity.header_start
        if self.part_header_octets > MAX_PART_HEADERS_OCTETS:
            return MimeFault.LONG_HEADERS
        self.part = entity
        if not entity.boundary:
            return None
        if entity.boundary in self.boundaries:
            return MimeFault.BROKEN
        if len(self.boundaries) == MAX_DEPTH:
            return MimeFault.DEEP
        self.boundaries.append(entity.boundary)
        self.kinds.append(entity.media_type)
        return None

    def end_part(self, end: int) -> None:
        """Note where the current part ends; a multipart is no leaf."""
        if self.part is not None and not self.part.boundary:
            cover = next((kind for kind in self.kinds if kind in _COVERING), b"")
            self.leaves.append(self.part.ended(end, cover.decode()))
        self.part = None

    def meet(self, match: re.Match[bytes]) -> MimeFault | None:
        """Take in a line ``--…`` of the body."""
        line = match[1].rstrip(b" \t")
        start = self.begins + match.start(1) - len(b"\r\n--")
        end = match.end()
        is_closing = line not in self.boundaries
        if is_closing:
            if not line.endswith(b"--") or line[:-2] not in self.boundaries:
                return None
            line = line[:-2]
        if self.part is not None and start < self.part.body_start - 2:
            return MimeFault.BROKEN
        self.end_part(start)
        keep = self.boundaries.index(line) + (not is_closing)
        del self.boundaries[keep:], self.kinds[keep:]
        if is_closing or not self.body.startswith(b"\r\n", end):
            return None
        is_digest = self.kinds[-1] == b"multipart/digest"
        # RFC 2046 §5.1.5: the default inside a digest.
        default = b"message/rfc822" if is_digest else b"text/plain"
        return self.enter(_read_entity(self.body, end + 2, self.begins, default))


def find_leaves(header: bytes, body: bytes) -> Sequence[Leaf] | MimeFault:
    """Return the leaves of a message in their order, or why none may be touched.

    Args:
        header: header section with its final empty line.
        body: the body.

    Cost: linear in the size; tens of milliseconds at the limits.
    """
    walk = _Walk(body, len(header))
    top = _entity(header, 0, b"text/plain")
    fault = walk.enter(top)
    lines = 0
    if top.boundary:
        for match in _dash_lines(body):
            lines += 1
            if lines > MAX_DASH_LINES:
                return MimeFault.MANY_LINES
            fault = walk.meet(match)
            if fault is not None or not walk.boundaries:
                break
    if fault is not None:
        return fault
    walk.end_part(len(header) + len(body))
    return walk.leaves


def _dash_lines(body: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the lines that start with ``--``; group 1 is what follows on the line."""
    # The line end before the first line is the header's.
    if (first := _DASHES.match(body)) is not None:
        yield first
    yield from _DASH_LINE.finditer(body)


def _read_entity(body: bytes, start: int, begins: int, default: bytes) -> _Entity:
    """Return the part that starts at ``start`` of the body, from its header."""
    offset = begins + start
    if body.startswith(b"\r\n", start):
        return _entity(b"\r\n", offset, default)
    end = body.find(b"\r\n\r\n", start, start + MAX_PART_HEADER_OCTETS)
    if end < 0:
        return _Entity(offset, offset, is_sound=False)
    return _entity(body[start : end + 4], offset, default)


def _entity(header: bytes, start: int, default: bytes) -> _Entity:
    body_start = start + len(header)
    found = fields(header)
    types = find(found, b"content-type")
    encodings = find(found, b"content-transfer-encoding")
    broken = _Entity(start, body_start, is_sound=False)
    is_all_fields = sum(each.end - each.start for each in found) == len(header) - 2
    if len(types) > 1 or len(encodings) > 1 or not is_all_fields:
        return broken
    media_type, boundary = _content_type(types[0]) if types else (default, b"")
    encoding = _encoding(encodings[0]) if encodings else b""
    is_multipart = media_type.startswith(b"multipart/")
    # RFC 2045 §6.4: a multipart is never encoded.
    if not media_type or (is_multipart and not (boundary and encoding in _IDENTITY)):
        return broken
    place = encodings[0] if encodings else None
    return _Entity(
        start,
        body_start,
        is_sound=True,
        media_type=media_type,
        encoding=encoding,
        encoding_field=(start + place.start, start + place.end) if place else None,
        boundary=boundary if is_multipart else b"",
    )


def _encoding(found: Field) -> bytes:
    match = _ENCODING.search(unfold(found.value))
    return match[0].lower() if match else b""


def _content_type(found: Field) -> tuple[bytes, bytes]:
    """Return media type and boundary in the form compared; ``b""`` for none or unclear."""
    value = unfold(found.value)
    match = _MEDIA_TYPE.match(value)
    if match is None or len(value) > _MAX_CONTENT_TYPE_OCTETS:
        return b"", b""
    boundaries = [
        _QUOTED_PAIR.sub(rb"\1", parameter[2]) if parameter[3] is None else parameter[3]
        for parameter in islice(
            _PARAMETER.finditer(value, match.end()), _MAX_PARAMETERS
        )
        if parameter[1].lower() == b"boundary"
    ]
    boundary = boundaries[0].rstrip(b" \t") if len(boundaries) == 1 else b""
    return b"/".join(match.groups()).lower(), boundary
