"""DKIM private keys: from a PEM file to octets to seal, and back to a key that signs.

Standards: RFC 6376 (DKIM), RFC 8301 §3.2 (signers use RSA keys of 2048 bits or more),
RFC 8463 (Ed25519), RFC 5958 (PKCS#8, the form that is sealed).
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from mailwright.errors import MailwrightError

RSA_SHA256: Final = "rsa-sha256"
ED25519_SHA256: Final = "ed25519-sha256"
MIN_RSA_BITS: Final = 2048
#: Some receivers do not verify longer ones, and their record outgrows a DNS answer.
MAX_RSA_BITS: Final = 4096
_MAKE_ONE: Final = "make one with: mailwright dkim generate"
_RESTORE: Final = "restore the database from a backup"

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey


class SigningKeyError(MailwrightError):
    """Some octets are no DKIM key that we sign with.

    Attributes:
        what: what is wrong, without any part of the octets.
        remedy: what to do.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class DkimSecret:
    """A key that signs. ``private_key`` may be used from several threads at once.

    Attributes:
        algorithm: ``rsa-sha256`` or ``ed25519-sha256``: the value of DKIM ``a=``.
        domain: A-labels: the value of ``d=``.
        selector: the value of ``s=``.
    """

    algorithm: str
    domain: str
    selector: str
    private_key: PrivateKey = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What signs a message.

    Attributes:
        keys: the aligned key first.
        note: what to report; not empty when another key than the row's signs.
    """

    keys: tuple[DkimSecret, ...]
    note: str = ""


def read_pem(pem: bytes) -> tuple[str, bytes]:
    """Return the algorithm and the PKCS#8 DER of the private key in ``pem``.

    Cost: checking a pair of RSA primes takes milliseconds; call it from a thread.

    Raises:
        SigningKeyError: not one unencrypted PEM key, of another kind, or too weak. The
            text has no part of the file.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise SigningKeyError(
            "is encrypted with a passphrase",
            "write it without one (openssl pkey) and protect it with mode 0600",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(
            "holds no PEM private key (PKCS#1 or PKCS#8)", _MAKE_ONE
        ) from error
    if isinstance(key, RSAPrivateKey):
        # RFC 8301 §3.2: signers MUST use at least 1024 and SHOULD use at least 2048.
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise SigningKeyError(
                f"has {key.key_size} bits; an RSA key needs {MIN_RSA_BITS} to "
                f"{MAX_RSA_BITS}",
                _MAKE_ONE,
            )
        algorithm = RSA_SHA256
    elif isinstance(key, Ed25519PrivateKey):
        algorithm = ED25519_SHA256
    else:
        raise SigningKeyError("is neither an RSA nor an Ed25519 key", _MAKE_ONE)
    return algorithm, key.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )


def read_der(der: bytes) -> PrivateKey:
    """Return the key in ``der``, which :func:`read_pem` made.

    The primes were checked then and were sealed since, so they are not checked again.

    Raises:
        SigningKeyError: it is no such key.
    """
    try:
        key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError("is no private key", _RESTORE) from error
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise SigningKeyError("is neither an RSA nor an Ed25519 key", _RESTORE)
    return key
