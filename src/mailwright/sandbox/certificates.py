"""A certificate for receivers or listeners, made when the sandbox starts."""

import asyncio
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A key with its self-signed certificate.

    Attributes:
        certificate_pem: also what a client that verifies must trust.
        context: for servers.
        key_pem: the private key, for a server that reads files; not encrypted.
    """

    certificate_pem: bytes
    context: ssl.SSLContext
    key_pem: bytes = field(repr=False)


async def make_identity(names: Sequence[str], now: datetime) -> Identity:
    """Return an identity for ``names``, valid from a day before ``now`` for 30 days.

    Runs in a thread: ``ssl`` reads certificates from files only.
    """
    return await asyncio.to_thread(_make_identity, names, now)


def _make_identity(names: Sequence[str], now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailwright sandbox")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity.pem"
        path.write_bytes(key_pem + certificate_pem)
        context.load_cert_chain(path)
    return Identity(certificate_pem, context, key_pem)
