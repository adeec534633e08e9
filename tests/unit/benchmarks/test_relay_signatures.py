"""What the relay benchmark says of signatures, good and bad."""

from pathlib import Path

import dkim
import pytest

from relaybench.signatures import fault, key_record, write_key

MESSAGE = b"From: a@example.com\r\nSubject: x\r\n\r\ntext\r\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Return a private key and its record."""
    path: Path = tmp_path_factory.mktemp("keys") / "s1.pem"
    record = key_record(write_key(path))
    return path.read_bytes(), record


def signed(key: bytes, *, selector: bytes = b"s1", content: bytes = MESSAGE) -> bytes:
    return dkim.sign(content, selector, b"example.com", key) + content


def test_a_good_signature_has_no_fault(keys: tuple[bytes, bytes]) -> None:
    key, record = keys
    assert fault(signed(key), record) is None


def test_no_signature_is_a_fault(keys: tuple[bytes, bytes]) -> None:
    assert fault(MESSAGE, keys[1]) == "not signed"


def test_a_changed_body_is_a_fault(keys: tuple[bytes, bytes]) -> None:
    key, record = keys
    assert fault(signed(key).replace(b"text", b"test"), record) is not None


def test_another_selector_is_a_fault(keys: tuple[bytes, bytes]) -> None:
    key, record = keys
    assert fault(signed(key, selector=b"s2"), record) is not None


def test_another_key_is_a_fault(keys: tuple[bytes, bytes], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    write_key(other)
    assert fault(signed(other.read_bytes()), keys[1]) is not None
