import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mailwright.accounts.signing_keys import read_der, read_pem
from mailwright.mta.dkim.keys import generate, write_new_key


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("rsa-sha256", RSAPrivateKey), ("ed25519-sha256", Ed25519PrivateKey)],
)
def test_a_new_key_is_written_for_its_owner_and_read_back(algorithm, kind, tmp_path):
    key = generate(algorithm)
    path = tmp_path / "key.pem"
    write_new_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    found, der = read_pem(path.read_bytes())
    assert found == algorithm
    again = read_der(der)
    assert isinstance(again, kind)
    assert again.public_key() == key.public_key()


def test_rsa_keys_have_2048_bits():
    key = generate("rsa-sha256")
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == 2048


def test_there_is_no_other_algorithm():
    with pytest.raises(ValueError, match="rsa-sha1"):
        generate("rsa-sha1")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_key_is_never_written_over_something(kind, tmp_path, rsa_key):
    path, target = tmp_path / "key.pem", tmp_path / "target"
    if kind == "file":
        path.write_bytes(b"precious")
    else:
        path.symlink_to(target)
    with pytest.raises(FileExistsError):
        write_new_key(path, rsa_key.private_key)
    assert not target.exists()
    if kind == "file":
        assert path.read_bytes() == b"precious"


def test_a_failure_leaves_no_half_a_key(tmp_path, monkeypatch, rsa_key):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_new_key(tmp_path / "key.pem", rsa_key.private_key)
    assert list(tmp_path.iterdir()) == []
