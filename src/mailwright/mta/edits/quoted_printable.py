"""Quoted-printable that gives every octet back (RFC 2045 §6.7).

Line ends of the text (CRLF) stay line ends; everything else that is not plain ASCII,
also a bare CR or LF and a blank at the end of a line, is written as ``=XX``. No output
line is longer than 76 octets, starts with ``.`` or with ``From ``: what such lines
suffer in transport (dot-stuffing done wrong, mbox quoting) cannot happen.
"""

import re
from binascii import b2a_qp
from io import BytesIO
from typing import Final

from mailwright.message import PIECE_OCTETS

MAX_LINE_OCTETS: Final = 76  # RFC 2045 §6.7 (5)
# One octet for the soft line break, two for a first character that must be quoted.
_ROOM: Final = MAX_LINE_OCTETS - 1 - 2
# As much as fits without cutting an "=XX" in two.
_PIECE: Final = re.compile(rb".{1,%d}(?<!=)(?<!=.)" % _ROOM, re.DOTALL)
_CRLF: Final = b"\r\n"
_SOFT_BREAK: Final = b"=\r\n"


def encode(text: bytes) -> bytes:
    """Return ``text`` as quoted-printable.

    Cost: about a microsecond for each line; memory for the result and little more,
    whatever the lines are.
    """
    if len(text) <= PIECE_OCTETS:
        return _encode_lines(text)
    encoded = BytesIO()
    start = 0
    while start < len(text):
        end, cut = _piece_end(text, start)
        encoded.write(_encode_lines(text[start:end]))
        encoded.write(cut)
        start = end
    return encoded.getvalue()


def _piece_end(text: bytes, start: int) -> tuple[int, bytes]:
    """Return where a piece ends, and what its last line needs: a break, if it goes on."""
    end = start + PIECE_OCTETS
    if end >= len(text):
        return len(text), b""
    line_end = text.rfind(_CRLF, start, end)
    if line_end >= 0:
        return line_end + len(_CRLF), b""
    # A line end is not cut in two.
    return end - text.startswith(_CRLF, end - 1), _SOFT_BREAK


def _encode_lines(text: bytes) -> bytes:
    return _CRLF.join(map(_encode_line, text.split(_CRLF)))


def _encode_line(line: bytes) -> bytes:
    # The C codec knows what to quote; its soft breaks are taken out again, as they do
    # not look at how the next line begins.
    quoted = b2a_qp(line, istext=False).replace(b"=\n", b"")
    if len(quoted) <= _ROOM and not quoted.startswith((b".", b"From ")):
        return quoted
    return b"=\r\n".join(map(_safe_start, _PIECE.findall(quoted)))


def _safe_start(piece: bytes) -> bytes:
    if piece.startswith(b"."):
        return b"=2E" + piece[1:]
    if piece.startswith(b"From "):
        return b"=46" + piece[1:]
    return piece
