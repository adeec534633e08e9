"""Credentials: making secrets, and telling whether one is right.

We make the secrets: 160 random bits, so one SHA-256 is enough to keep them (a slow hash
protects guessable passwords, and costs CPU that a flood of guesses would use up). A
secret reads ``mw_NAME_`` and 32 characters of base32 in lower case, so an API key names
its credential. The same text is the password of the SMTP login ``NAME``.

A wrong secret, an unknown name and a credential without a secret take the same work
and look the same: one hash, one comparison in constant time, ``None``.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from typing import Final

from mailwright.accounts.directory import Credential, Directory

SECRET_BITS: Final = 160
#: Names go into keys, logins, logs and labels: one word of plain characters.
CREDENTIAL_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
#: Longer texts than any secret are not hashed at all; how long they are tells nothing.
MAX_SECRET_OCTETS: Final = 1_024
_PREFIX: Final = "mw_"
#: No text has this digest that anyone could find; unknown names are compared with it.
_NOBODY: Final = bytes(32)


def make_secret(credential_name: str) -> tuple[str, bytes]:
    """Return a new secret for ``credential_name`` and its SHA-256.

    The text is to be shown once and kept nowhere.

    Raises:
        ValueError: the name is not one that a credential can have.
    """
    if CREDENTIAL_NAME.fullmatch(credential_name) is None:
        raise ValueError("not a credential's name")
    token = base64.b32encode(os.urandom(SECRET_BITS // 8)).decode("ascii").lower()
    text = f"{_PREFIX}{credential_name}_{token}"
    return text, hash_secret(text)


def hash_secret(text: str) -> bytes:
    """Return the SHA-256 of ``text``: what the database keeps of a secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def name_in_key(text: str) -> str:
    """Return which credential an API key says it belongs to, ``""`` when none."""
    if len(text) > MAX_SECRET_OCTETS or not text.startswith(_PREFIX):
        return ""
    return text[len(_PREFIX) :].rpartition("_")[0]


class Authenticator:
    """Says whose secret it is. Microseconds; knows no limits (see ``logins.py``)."""

    __slots__ = ("_directory", "_hash")

    def __init__(
        self,
        directory: Callable[[], Directory],
        hash_of: Callable[[str], bytes] = hash_secret,
    ) -> None:
        """Take where the settings in force are read, at each question."""
        self._directory = directory
        self._hash = hash_of

    def authenticate(self, name: str, secret: str) -> Credential | None:
        """Return the live credential ``name`` if ``secret`` is its secret."""
        if len(secret) > MAX_SECRET_OCTETS:
            return None
        found = self._directory().credentials.get(name)
        expected = _NOBODY
        if found is not None and found.secret_hash is not None:
            expected = found.secret_hash
        # Hash and compare before looking at what was found: unknown names cost the same.
        is_right = hmac.compare_digest(self._hash(secret), expected)
        return found if is_right else None

    def authenticate_key(self, text: str) -> Credential | None:
        """Return the live credential that the API key ``text`` belongs to."""
        return self.authenticate(name_in_key(text), text)

    def for_network(self, name: str) -> Credential | None:
        """Return the live credential that a listener open to networks is mapped to."""
        return self._directory().credentials.get(name)
