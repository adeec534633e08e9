"""Dot-stuffing of content that is ready to go (RFC 5321 §4.5.2).

The content's octets are frozen and signed; nothing here repairs them. A bare CR or LF
would be read by some server as a line end and could end the message early and begin
another one (SMTP smuggling), so such content is refused instead of sent.
"""

from io import BytesIO
from typing import Final

from mailwright.errors import LocalProtocolError
from mailwright.message import PIECE_OCTETS, has_stray_line_end

END_OF_DATA: Final = b".\r\n"
_CRLF: Final = b"\r\n"


def stuff(*parts: bytes, piece: int = PIECE_OCTETS) -> bytes:
    """Return a content as it goes over the wire, with the final dot.

    Lines that begin with a dot get one more; a last line without CRLF gets it (which no
    DKIM canonicalisation sees); then ``.CRLF``.

    Args:
        parts: the content in order, cut behind line ends only: a header section and a
            body, for one. A large one need not be joined before.
        piece: how much of a large content is worked on at a time.

    Cost: four passes at memory speed; some microseconds for 5 KB. A large content needs
    the memory of the result and no more.

    Raises:
        LocalProtocolError: a bare CR, a bare LF or a NUL.
    """
    if sum(map(len, parts)) <= piece:
        content = b"".join(parts)
        _check(content)
        head = b"." if content.startswith(b".") else b""
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        return b"".join((head, stuffed, missing_end(content), END_OF_DATA))
    # It hands its buffer over, which no join of pieces does.
    wire = BytesIO()
    for part in parts:
        _check(part)
        if part.startswith(b"."):
            wire.write(b".")
        _write_stuffed(wire, part, piece)
    wire.write(missing_end(parts[-1]))
    wire.write(END_OF_DATA)
    return wire.getvalue()


def missing_end(content: bytes) -> bytes:
    """Return the line end that ``content`` lacks before the final dot.

    The CRLF before the dot is the content's own (RFC 5321 §4.1.1.4); before an empty one
    it is that of the DATA line.
    """
    return b"" if not content or content.endswith(_CRLF) else _CRLF


def _check(octets: bytes) -> None:
    if has_stray_line_end(octets):
        raise LocalProtocolError("content has a bare CR or LF")
    if b"\0" in octets:
        raise LocalProtocolError("content has a NUL")


def _write_stuffed(wire: BytesIO, part: bytes, piece: int) -> None:
    start = 0
    while start < len(part):
        end = start + piece
        # A line end and the dot behind it are in one piece.
        cut = part.find(b"\r\n.", max(start, end - 2), end + 2)
        if cut >= 0:
            end = cut + 3
        wire.write(part[start:end].replace(b"\r\n.", b"\r\n.."))
        start = end
