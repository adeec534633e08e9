import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mailwright.accounts.signing_keys import (
    DkimSecret,
    SigningKeyError,
    read_der,
    read_pem,
)


@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]
)
def test_rsa_keys_are_read_in_both_forms_of_pem(
    rsa_key: RSAPrivateKey, form: PrivateFormat
) -> None:
    algorithm, der = read_pem(rsa_key.private_bytes(Encoding.PEM, form, NoEncryption()))

    read = read_der(der)

    assert algorithm == "rsa-sha256"
    assert isinstance(read, RSAPrivateKey)
    assert read.private_numbers() == rsa_key.private_numbers()


def test_an_ed25519_key_is_read(ed25519_pem: bytes) -> None:
    algorithm, der = read_pem(ed25519_pem)
    assert algorithm == "ed25519-sha256"
    assert read_pem(
        read_der(der).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    ) == (algorithm, der)


def _pem(
    key: RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey,
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_that_receivers_do_not_trust_are_refused_with_a_remedy(
    rsa_key: RSAPrivateKey,
) -> None:
    encrypted = rsa_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    public = rsa_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    cases = {
        "has 1024 bits": _pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505
        "neither an RSA nor an Ed25519": _pem(ec.generate_private_key(ec.SECP256R1())),
        "encrypted": encrypted,
        "no PEM private key": public,
    }
    for what, pem in cases.items():
        with pytest.raises(SigningKeyError, match=what) as caught:
            read_pem(pem)
        assert caught.value.remedy


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00" * 100,
        b"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    ],
)
def test_garbage_is_refused_and_not_repeated(garbage: bytes) -> None:
    with pytest.raises(SigningKeyError) as caught:
        read_pem(garbage)
    assert "canary" not in str(caught.value)
    with pytest.raises(SigningKeyError):
        read_der(garbage)


def test_a_dkim_secret_does_not_show_its_key(rsa_key: RSAPrivateKey) -> None:
    secret = DkimSecret("rsa-sha256", "example.com", "s1", rsa_key)
    assert repr(secret) == (
        "DkimSecret(algorithm='rsa-sha256', domain='example.com', selector='s1')"
    )
