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

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey


class SigningKeyError(MailwrightError):
    """A file is no DKIM key that we sign with; the text says what to do."""


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
            "the key is encrypted; write it without a passphrase (openssl pkey) and "
            "protect it with file mode 0600"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(
            f"no PEM private key (PKCS#1 or PKCS#8) is in it; {_MAKE_ONE}"
        ) from error
    if isinstance(key, RSAPrivateKey):
        # RFC 8301 §3.2: signers MUST use at least 1024 and SHOULD use at least 2048.
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise SigningKeyError(
                f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, this one "
                f"{key.key_size}; {_MAKE_ONE}"
            )
        algorithm = RSA_SHA256
    elif isinstance(key, Ed25519PrivateKey):
        algorithm = ED25519_SHA256
    else:
        raise SigningKeyError(f"DKIM signs with RSA or Ed25519 only; {_MAKE_ONE}")
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
        raise SigningKeyError("the sealed octets are no private key") from error
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise SigningKeyError("the sealed key is neither RSA nor Ed25519")
    return key
