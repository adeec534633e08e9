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
_VISIBLE: Final = re.compile(rb"[^ \t\r\n]")


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
    """Yield the relaxed form of ``body`` from pieces of at least ``octets``.

    A large body is not worked on in one go: a single operation of ours holds the
    interpreter lock to its end, and the loop waits.
    """
    start = 0
    while len(body) - start > octets:
        # Cut before an octet that is no blank and no line end: then runs of them, and
        # all that ends the body, stay in one piece.
        match = _VISIBLE.search(body, start + octets)
        if match is None:
            break
        yield _squeezed(body[start : match.start()]).replace(b" \r\n", _CRLF)
        start = match.start()
    last = _squeezed(body[start:] if start else body).replace(b" \r\n", _CRLF)
    last = _without_final_line_ends(last.removesuffix(b" "))
    if last:
        yield last + _CRLF


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
