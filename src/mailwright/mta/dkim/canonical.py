"""The relaxed forms of header and body: what DKIM hashes (RFC 6376 §3.4.2, §3.4.4).

Every function is linear in the size of its input, also on runs of blanks and of empty
lines made to be slow.
"""

import hashlib
from base64 import b64encode
from typing import Final

_CRLF: Final = b"\r\n"
_LONG_RUN: Final = b" " * 32


def relaxed_field(key: bytes, value: bytes) -> bytes:
    """Return a field in relaxed form, without its final CRLF (§3.4.2).

    Args:
        key: the name in lower case, without blanks before the colon.
        value: what follows the colon, raw, without the final CRLF.
    """
    return b"%b:%b" % (key, _squeezed(value.replace(_CRLF, b"")).strip(b" "))


def relaxed_body(body: bytes) -> bytes:
    """Return ``body`` in relaxed form (§3.4.4); an empty one stays empty."""
    body = _squeezed(body).replace(b" \r\n", _CRLF).removesuffix(b" ")
    body = _without_final_line_ends(body)
    return body + _CRLF if body else body


def body_hash(body: bytes) -> bytes:
    """Return the value of ``bh=``: the SHA-256 of the relaxed body, in Base64 (§3.7)."""
    return b64encode(hashlib.sha256(relaxed_body(body)).digest())


def _squeezed(octets: bytes) -> bytes:
    """Return ``octets`` with each run of blanks and tabs as one blank.

    Plain replacing, again and again, beats a regular expression several times; with the
    long runs shortened first, no input takes more than a dozen rounds.
    """
    octets = octets.replace(b"\t", b" ")
    while _LONG_RUN in octets:
        octets = octets.replace(_LONG_RUN, b" ")
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


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
