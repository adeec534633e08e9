"""The files that a setup file names: DKIM keys, secrets, passwords.

They are read from disk, or were sent along with the setup file. Blocking; for a thread.
Everything is read and checked before anything is stored, and all problems are reported
at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from typing_extensions import override

from mailwright.accounts.authentication import MAX_SECRET_OCTETS, hash_secret
from mailwright.accounts.signing_keys import SigningKeyError, read_pem
from mailwright.config.problems import KeyPath, Problem, SettingsError, format_key
from mailwright.config.setup import SetupFile

MAX_FILE_OCTETS: Final = 65_536
#: A secret is kept as a fast hash: what a person made up could be found by trying.
MIN_SECRET_CHARS: Final = 20

_K = TypeVar("_K")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in PKCS#8 DER, with the algorithm it signs by."""

    algorithm: str
    der: bytes

    @override
    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, hidden)"


@dataclass(frozen=True, slots=True, repr=False)
class SetupSecrets:
    """What the files of one setup file hold.

    Attributes:
        signing_keys: by (domain, selector).
        secret_hashes: SHA-256 of the secrets, by credential; only of those that have one.
        passwords: of smarthosts, by the route's domain.
    """

    signing_keys: Mapping[tuple[str, str], SigningKey]
    secret_hashes: Mapping[str, bytes]
    passwords: Mapping[str, bytes]


class _Unusable(Exception):  # noqa: N818 (never leaves this module)
    """What is wrong with a file, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy


class _Reader:
    """Reads files and collects what is wrong with them."""

    def __init__(self, base: Path, octets_of: Callable[[Path], bytes]) -> None:
        self._base = base
        self._octets_of = octets_of
        self.problems: list[Problem] = []

    def read(self, key: KeyPath, name: Path, parse: Callable[[bytes], _T]) -> _T | None:
        """Return what ``parse`` makes of a file; ``None`` when a problem was noted."""
        path = self._base / name
        try:
            return parse(self._octets_of(path))
        except (_Unusable, SigningKeyError) as error:
            self.problems.append(
                Problem(path, format_key(key), error.what, error.remedy)
            )
            return None


def read_secret_files(setup: SetupFile, base: Path) -> SetupSecrets:
    """Return the secrets of ``setup``; relative paths start at ``base``.

    Raises:
        SettingsError: with every file that cannot be used: the key that names it, what
            is wrong with it and what to do. Never with a part of its content.
    """
    return _read_secrets(setup, _Reader(base, _octets_of))


def sent_secrets(setup: SetupFile, files: Mapping[str, bytes]) -> SetupSecrets:
    """Return the secrets of ``setup`` whose files were sent along, by their names.

    No file of this machine is read.

    Raises:
        SettingsError: as :func:`read_secret_files`.
    """

    def octets_of(path: Path) -> bytes:
        octets = files.get(str(path))
        if octets is None:
            raise _Unusable("was not sent along", "send its content in files")
        return octets

    return _read_secrets(setup, _Reader(Path(), octets_of))


def _read_secrets(setup: SetupFile, reader: _Reader) -> SetupSecrets:
    signing_keys: dict[tuple[str, str], SigningKey | None] = {}
    for index, domain in enumerate(setup.sending_domain):
        here: KeyPath = ("sending_domain", index)
        if domain.selector is not None and domain.key_file is not None:
            signing_keys[domain.domain, domain.selector] = reader.read(
                (*here, "key_file"), domain.key_file, _signing_key
            )
        for number, extra in enumerate(domain.extra_keys):
            if extra.key_file is None:
                continue
            signing_keys[domain.domain, extra.selector] = reader.read(
                (*here, "extra_keys", number, "key_file"), extra.key_file, _signing_key
            )
    hashes: dict[str, bytes | None] = {}
    for index, credential in enumerate(setup.credential):
        if credential.secret_hash is not None:
            hashes[credential.name] = credential.secret_hash
        elif credential.secret_file is not None:
            hashes[credential.name] = reader.read(
                ("credential", index, "secret_file"),
                credential.secret_file,
                _secret_hash,
            )
    passwords = {
        route.domain: reader.read(
            ("route", index, "password_file"), route.password_file, _first_line
        )
        for index, route in enumerate(setup.route)
        if route.password_file is not None
    }
    if reader.problems:
        raise SettingsError(reader.problems)
    return SetupSecrets(_present(signing_keys), _present(hashes), _present(passwords))


def _present(found: Mapping[_K, _T | None]) -> dict[_K, _T]:
    return {key: value for key, value in found.items() if value is not None}


def _octets_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _Unusable(f"cannot be read: {reason}", "check path and rights") from None
    if len(octets) > MAX_FILE_OCTETS:
        raise _Unusable("is over 64 KiB", "name the right file")
    return octets


def _signing_key(octets: bytes) -> SigningKey:
    return SigningKey(*read_pem(octets))


def _first_line(octets: bytes) -> bytes:
    line = octets.partition(b"\n")[0].rstrip(b"\r")
    if not line or b"\0" in line:
        raise _Unusable("has no secret in its first line", "write it there")
    return line


def _secret_hash(octets: bytes) -> bytes:
    try:
        secret = _first_line(octets).decode()
    except UnicodeDecodeError:
        raise _Unusable("is not UTF-8", "write the secret as plain text") from None
    if not MIN_SECRET_CHARS <= len(secret) <= MAX_SECRET_OCTETS:
        raise _Unusable(
            f"needs a secret of {MIN_SECRET_CHARS} to {MAX_SECRET_OCTETS} characters",
            "leave the file out and make a secret with: mailwright key create --rotate",
        )
    return hash_secret(secret)
