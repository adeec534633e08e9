"""New DKIM keys, and the files they are kept in until they are sealed.

Reading such a file is :mod:`mailwright.accounts.signing_keys`'s.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailwright.accounts.signing_keys import (
    ED25519_SHA256,
    MIN_RSA_BITS,
    RSA_SHA256,
    PrivateKey,
)
from mailwright.store.folders import sync_folder

_PUBLIC_EXPONENT: Final = 65_537
_OWNER_ONLY: Final = 0o600


def generate(algorithm: str) -> PrivateKey:
    """Return a new key for ``algorithm``: RSA has 2048 bits, which every receiver reads.

    Cost: RSA takes some hundred milliseconds.

    Raises:
        ValueError: an algorithm that we do not sign with.
    """
    if algorithm == RSA_SHA256:
        return generate_private_key(_PUBLIC_EXPONENT, MIN_RSA_BITS)
    if algorithm == ED25519_SHA256:
        return Ed25519PrivateKey.generate()
    raise ValueError(f"not a signing algorithm: {algorithm}")


def write_new_key(path: Path, key: PrivateKey) -> None:
    """Write ``key`` as PKCS#8 PEM to a new file that only its owner can read.

    Synced with its directory when this returns: a record that is already published must
    not outlive its key.

    Raises:
        FileExistsError: there is something at ``path``; it was not touched.
        OSError: it cannot be written; no half a file is left.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # O_EXCL also refuses a symbolic link, dangling or not.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise
