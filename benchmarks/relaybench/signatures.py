"""Whether what arrived is signed as it should be, judged by independent code."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

DOMAIN: Final = "example.com"
SELECTOR: Final = "s1"


def write_key(path: Path) -> RSAPrivateKey:
    """Make the RSA-2048 key that every relay signs with; write it as PKCS #8 PEM."""
    key = generate_private_key(65_537, 2048)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    path.chmod(0o600)
    return key


def key_record(key: RSAPrivateKey) -> bytes:
    """Return what stands in DNS for a key. Source: RFC 6376 §3.6.1."""
    octets = key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(octets)


def fault(message: bytes, record: bytes) -> str | None:
    """Return what is wrong with a message's signature, or ``None`` if it verifies.

    It must be the first one, of our domain and selector, rsa-sha256, and cover From.
    """

    def answer(name: bytes, **_: object) -> bytes:
        wanted = f"{SELECTOR}._domainkey.{DOMAIN}.".encode()
        return record if name == wanted else b""

    judge = dkim.DKIM(message)
    try:
        if not judge.verify(dnsfunc=answer):
            return "the signature does not verify" if judge.domain else "not signed"
    except dkim.DKIMException as error:
        return str(error)
    if judge.signature_fields.get(b"a") != b"rsa-sha256":
        return "signed with another algorithm"
    signed = {name.strip().lower() for name in judge.include_headers}
    return None if b"from" in signed else "From is not signed"


def faults(sample: Iterable[Path], record: bytes) -> list[str]:
    """Return what is wrong with each message of a sample that is not well signed."""
    found = ((path, fault(path.read_bytes(), record)) for path in sample)
    return [f"{path.name}: {text}" for path, text in found if text is not None]
