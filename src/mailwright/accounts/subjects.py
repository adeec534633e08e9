"""Subjects: who a suppression, a token or an event is about, without the address.

A subject is the first 16 octets of HMAC-SHA256 (RFC 2104) over the canonical address,
under one random key of the whole database. The key is made with the first unit and never
rotated: rotating it would forget every suppression. It is sealed like every secret, so
that a copy of the database does not let anyone test which addresses are in it.
"""

import hmac
import os
from typing import Final

from typing_extensions import override

from mailwright.address import Address
from mailwright.ids import Subject

SUBJECT_KEY_OCTETS: Final = 32
SUBJECT_OCTETS: Final = 16


class SubjectKey:
    """Makes subjects; about a microsecond each, from any thread."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Take the key's 32 octets.

        Raises:
            ValueError: it has another length.
        """
        if len(key) != SUBJECT_KEY_OCTETS:
            raise ValueError(f"a subject key has {SUBJECT_KEY_OCTETS} octets")
        self._key = key

    def subject(self, address: Address | str) -> Subject:
        """Return the subject of ``address``; a string must be canonical already."""
        canonical = address if isinstance(address, str) else address.canonical
        digest = hmac.digest(self._key, canonical.encode(), "sha256")
        return Subject(digest[:SUBJECT_OCTETS])

    @override
    def __repr__(self) -> str:
        return "SubjectKey(hidden)"


def make_subject_key() -> bytes:
    """Return the octets of a new key."""
    return os.urandom(SUBJECT_KEY_OCTETS)
