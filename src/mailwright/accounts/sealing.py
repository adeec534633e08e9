"""Sealing of secrets with the node-set key.

The key is 32 octets in a file of mode 0600 beside the database, never inside it: who
copies the database alone can open nothing. It only seals; what it seals (DKIM keys,
passwords, the subject key) does the work.

Sealed form: one octet for the format (1), a nonce of 12 octets, ciphertext, a tag of
16 octets: AES-256-GCM with the purpose as associated data, so that a row moved under
another purpose does not open. Nonces are random; a key may seal 2**32 secrets so (NIST
SP 800-38D §8.3), which no node comes near.

Blocking: everything about files here is for a thread, or for the time before the loop.
"""

import contextlib
import hmac
import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from mailwright.errors import MailwrightError
from mailwright.store.folders import sync_folder

NODE_KEY_OCTETS: Final = 32
_FORMAT: Final = b"\x01"
_NONCE_OCTETS: Final = 12
_TAG_OCTETS: Final = 16
#: Group and others get nothing, as ssh demands of its keys.
_FORBIDDEN_MODE: Final = 0o077
#: systemd hands credentials out as 0400, or 0440 with an ACL for the service's user.
_FORBIDDEN_MODE_SUPPLIED: Final = 0o037


class Purpose(StrEnum):
    """What a sealed secret is for; the column ``sealed_keys.purpose``."""

    CHECK = "check"  # tells whether a node key fits this database
    SUBJECT = "subject"  # the key of subjects
    DKIM = "dkim"  # a private signing key, PKCS#8 DER
    SMARTHOST = "smarthost"  # the password of a route's login
    WEBHOOK = "webhook"  # what signs an endpoint's batches; its id follows


class NodeKeyError(MailwrightError):
    """The node-set key cannot be used; the text says what to do. The node exits 2."""


class SealError(MailwrightError):
    """A sealed secret does not open: another key, another purpose, or damage."""


class Secret:
    """Octets that must not be shown; :meth:`reveal` is the only way to them.

    Equal secrets compare equal, in constant time; a secret cannot be hashed or pickled.
    """

    __slots__ = ("_octets",)
    __hash__ = None  # type: ignore[assignment]  # no dictionary keys made of secrets

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """Return the octets."""
        return self._octets

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    @override
    def __repr__(self) -> str:
        return "Secret(hidden)"

    @override
    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled")


class Sealer:
    """Seals and opens secrets. Safe to use from several threads."""

    __slots__ = ("_cipher",)

    def __init__(self, node_key: bytes) -> None:
        """Take the node-set key.

        Raises:
            NodeKeyError: it has not 32 octets.
        """
        if len(node_key) != NODE_KEY_OCTETS:
            raise NodeKeyError(f"a node key has {NODE_KEY_OCTETS} octets")
        self._cipher = AESGCM(node_key)

    def seal(self, purpose: str, plaintext: bytes) -> bytes:
        """Return ``plaintext``, sealed; it opens only under the same ``purpose``."""
        nonce = os.urandom(_NONCE_OCTETS)
        return (
            _FORMAT + nonce + self._cipher.encrypt(nonce, plaintext, purpose.encode())
        )

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SealError: sealed with another key or purpose, or damaged.
        """
        if sealed[:1] != _FORMAT or len(sealed) < 1 + _NONCE_OCTETS + _TAG_OCTETS:
            raise SealError(f"no sealed {purpose} secret of a format that we know")
        nonce = sealed[1 : 1 + _NONCE_OCTETS]
        try:
            return self._cipher.decrypt(
                nonce, sealed[1 + _NONCE_OCTETS :], purpose.encode()
            )
        except InvalidTag as error:
            raise SealError(
                f"a sealed {purpose} secret does not open with this node key"
            ) from error

    @override
    def __repr__(self) -> str:
        return "Sealer(hidden)"


def load_or_make_node_key(
    path: Path, *, database_is_empty: bool, supplied: Path | None = None
) -> Sealer:
    """Return the sealer of the node-set key; make the key for an empty database.

    When it returns, a key that was made is on stable storage with its folder entry.
    Whether a key that was found fits the database is for
    :func:`mailwright.accounts.keyring.check_node_key` to say.

    Args:
        path: where the node keeps its key.
        database_is_empty: whether nothing was sealed yet.
        supplied: a key file that the service manager hands in; it is used instead of
            ``path`` and never written.

    Raises:
        NodeKeyError: absent with a database that is not empty, or a file of the wrong
            kind, mode or length.
    """
    if supplied is not None:
        return Sealer(_read_key(supplied, _FORBIDDEN_MODE_SUPPLIED))
    if not os.path.lexists(path):
        if not database_is_empty:
            raise NodeKeyError(
                f"the node key {path} is missing, and the database holds secrets that "
                "were sealed with it; put the key's copy back (mode 0600)"
            )
        _make_key(path)
    return Sealer(_read_key(path, _FORBIDDEN_MODE))


def _read_key(path: Path, forbidden_mode: int) -> bytes:
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            octets = file.read(NODE_KEY_OCTETS + 1)
    except OSError as error:
        raise NodeKeyError(
            f"the node key {path} cannot be read: {error.strerror}"
        ) from error
    if not stat.S_ISREG(about.st_mode):
        raise NodeKeyError(f"the node key {path} is not a regular file")
    if about.st_mode & forbidden_mode:
        raise NodeKeyError(
            f"the node key {path} is open to others "
            f"(mode {stat.S_IMODE(about.st_mode):04o}); run: chmod 600 {path}"
        )
    if len(octets) != NODE_KEY_OCTETS:
        raise NodeKeyError(
            f"the node key {path} must have exactly {NODE_KEY_OCTETS} octets and has "
            f"{about.st_size}; put the key's copy back"
        )
    return octets


def _make_key(path: Path) -> None:
    """Write a new key beside ``path``, then give it its name, which must be free.

    A crash leaves either no key or a whole one.
    """
    try:
        descriptor, unnamed = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(NODE_KEY_OCTETS))
                file.flush()
                os.fsync(file.fileno())
            # Another process may have made one since: it wins, ours is dropped.
            with contextlib.suppress(FileExistsError):
                os.link(unnamed, path)
        finally:
            os.unlink(unnamed)
        sync_folder(path.parent)
    except OSError as error:
        raise NodeKeyError(
            f"the node key {path} cannot be made: {error.strerror}"
        ) from error
