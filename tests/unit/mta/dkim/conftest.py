"""Keys are dear to make: one of each kind for all tests of this folder."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailwright.accounts.signing_keys import DkimSecret
from mailwright.mta.dkim.records import record_name, record_text


@pytest.fixture(scope="session")
def rsa_key():
    return DkimSecret(
        "rsa-sha256", "example.com", "s1", generate_private_key(65_537, 2048)
    )


@pytest.fixture(scope="session")
def ed25519_key():
    return DkimSecret(
        "ed25519-sha256", "example.com", "e1", Ed25519PrivateKey.generate()
    )


@pytest.fixture(scope="session")
def records(rsa_key, ed25519_key):
    """What DNS would answer, in the form dkimpy asks for it."""
    texts = {
        record_name(key.domain, key.selector): record_text(key.private_key)
        for key in (rsa_key, ed25519_key)
    }
    return lambda name, timeout=5: texts[name.decode().rstrip(".")].encode()
