"""Subjects: who a suppression, a token or an event is about, without the address.

A subject is the first 16 octets of HMAC-SHA256 (RFC 2104) over the canonical address,
under one random key of the whole database. The key is made with the first unit and never
rotated: rotating it would forget every suppression. It is sealed like every secret, so
that a copy of the database does not let anyone test which addresses are in it.
"""

import hashlib
import os
from typing import Final

from typing_extensions import override

from mailwright.address import Address
from mailwright.ids import Subject

SUBJECT_KEY_OCTETS: Final = 32
SUBJECT_OCTETS: Final = 16
_BLOCK_OCTETS: Final = 64  # of SHA-256


class SubjectKey:
    """Makes subjects; about a microsecond each, from any thread.

    The two halves of the HMAC (RFC 2104 §4) are begun once: ``hmac.digest`` sets up both
    for each address, and lets go of the interpreter while other threads wait for it.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        """Take the key's 32 octets.

        Raises:
            ValueError: it has another length.
        """
        if len(key) != SUBJECT_KEY_OCTETS:
            raise ValueError(f"a subject key has {SUBJECT_KEY_OCTETS} octets")
        block = key.ljust(_BLOCK_OCTETS, b"\0")
        self._inner = hashlib.sha256(bytes(octet ^ 0x36 for octet in block))
        self._outer = hashlib.sha256(bytes(octet ^ 0x5C for octet in block))

    def subject(self, address: Address | str) -> Subject:
        """Return the subject of ``address``; a string must be canonical already."""
        canonical = address if isinstance(address, str) else address.canonical
        inner = self._inner.copy()
        inner.update(canonical.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return Subject(outer.digest()[:SUBJECT_OCTETS])

    @override
    def __repr__(self) -> str:
        return "SubjectKey(hidden)"


def make_subject_key() -> bytes:
    """Return the octets of a new key."""
    return os.urandom(SUBJECT_KEY_OCTETS)
