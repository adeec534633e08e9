"""The relaxed forms of header and body: what DKIM hashes (RFC 6376 §3.4.2, §3.4.4).

Every function is linear in the size of its input, also on runs of blanks and of empty
lines made to be slow.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

_CRLF: Final = b"\r\n"
# The literal start lets the search skip ahead, so most bodies cost next to nothing.
_BLANKS: Final = re.compile(rb"  +")
#: From 2048 octets on ``hashlib`` lets go of the interpreter lock: to get it back costs
#: more than to hash a common mail.
_HASHED_LOCKED: Final = 2047
_HASHED_AT_ONCE: Final = 16_384
_STRAY: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def relaxed_field(key: bytes, value: bytes) -> bytes:
    """Return a field in relaxed form, without its final CRLF (§3.4.2).

    Args:
        key: the name in lower case, without blanks before the colon.
        value: what follows the colon, raw, without the final CRLF.
    """
    return b"%b:%b" % (key, _squeezed(value.replace(_CRLF, b"")).strip(b" "))


def relaxed_body(body: bytes) -> bytes:
    """Return ``body`` in relaxed form (§3.4.4); an empty one stays empty."""
    return b"".join(relaxed_pieces(body))


def relaxed_pieces(body: bytes, *, octets: int = 65_536) -> Iterator[bytes]:
    """Yield the relaxed form of ``body`` from pieces of ``octets``.

    A large body is not worked on in one go, whatever it is made of: a single operation
    of ours holds the interpreter lock to its end, and the loop waits.
    """
    if len(body) > octets:
        yield from _from_pieces(body, octets)
        return
    last = _squeezed(body).replace(b" \r\n", _CRLF)
    last = _without_final_line_ends(last.removesuffix(b" "))
    if last:
        yield last + _CRLF


def _from_pieces(body: bytes, octets: int) -> Iterator[bytes]:
    """Yield as :func:`relaxed_pieces` does.

    Line ends are given out when text follows them, and until then are a number: a body
    may be nothing else. What may still become part of one is held back, two octets at
    most: a blank, a CR.
    """
    ends, held, has_text = 0, b"", False
    for start in range(0, len(body), octets):
        piece = held + body[start : start + octets]
        end = _text_end(piece, is_last=start + octets >= len(body))
        if end:
            has_text = True
            while ends:
                some = min(ends, octets)
                yield _CRLF * some
                ends -= some
            yield _squeezed(piece[:end]).replace(b" \r\n", _CRLF)
        rest = _squeezed(piece[end:]).replace(b" \r\n", _CRLF)
        pairs = rest.count(_CRLF)
        ends += pairs
        held = rest[2 * pairs :]
    if has_text:
        yield _CRLF


def _text_end(piece: bytes, *, is_last: bool) -> int:
    """Return where the text of ``piece`` ends and only blanks and line ends follow.

    A stray CR or LF is text; a CR at the end is one only if nothing follows it.
    """
    end = len(piece.rstrip(b" \t\r\n"))
    tail = piece[end:]
    pairs = tail.count(_CRLF)
    cut = 1 if tail.endswith(b"\r") and not is_last else 0
    if tail.count(b"\r") - cut == pairs == tail.count(b"\n"):
        return end
    for match in _STRAY.finditer(tail, 0, len(tail) - cut):
        end = len(piece) - len(tail) + match.end()
    return end


def body_hash(body: bytes) -> bytes:
    """Return the value of ``bh=``: the SHA-256 of the relaxed body, in Base64 (§3.7)."""
    digest = hashlib.sha256()
    for piece in relaxed_pieces(body):
        if len(piece) > _HASHED_AT_ONCE:
            digest.update(piece)
            continue
        for at in range(0, len(piece), _HASHED_LOCKED):
            digest.update(piece[at : at + _HASHED_LOCKED])
    return b64encode(digest.digest())


def _squeezed(octets: bytes) -> bytes:
    """Return ``octets`` with each run of blanks and tabs as one blank."""
    octets = octets.replace(b"\t", b" ")
    return _BLANKS.sub(b" ", octets) if b"  " in octets else octets


def _without_final_line_ends(body: bytes) -> bytes:
    stripped = body.rstrip(_CRLF)
    tail = body[len(stripped) :]
    pairs = tail.count(_CRLF)
    if 2 * pairs == len(tail):
        return stripped
    # A stray CR or LF is an octet of the text: only what follows the last one goes.
    end = len(body)
    while body.endswith(_CRLF, 0, end):
        end -= 2
    return body[:end]
