import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.sealing import (
    NodeKeyError,
    Sealer,
    SealError,
    Secret,
    load_or_make_node_key,
)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_what_is_sealed_opens_to_the_same_octets(
    plaintext: bytes, purpose: str
) -> None:
    purpose = purpose.encode("utf-8", "replace").decode()
    sealer = Sealer(bytes(range(32)))

    sealed = sealer.seal(purpose, plaintext)

    assert sealer.open(purpose, sealed) == plaintext
    assert len(plaintext) < 8 or plaintext not in sealed


def test_sealing_twice_gives_different_octets() -> None:
    sealer = Sealer(bytes(32))
    assert sealer.seal("dkim", b"same") != sealer.seal("dkim", b"same")


def test_another_key_or_purpose_or_any_changed_octet_does_not_open() -> None:
    sealer = Sealer(bytes(32))
    sealed = sealer.seal("dkim", b"private")

    with pytest.raises(SealError):
        Sealer(b"\x01" * 32).open("dkim", sealed)
    with pytest.raises(SealError):
        sealer.open("smarthost", sealed)
    for index in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[index] ^= 1
        with pytest.raises(SealError):
            sealer.open("dkim", bytes(damaged))
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            sealer.open("dkim", sealed[:length])


def test_an_absent_key_is_made_for_an_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "node.key"

    sealed = load_or_make_node_key(path, database_is_empty=True).seal("check", b"x")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 32
    assert os.listdir(tmp_path) == ["node.key"], "nothing else is left behind"
    # An empty database does not mean that a key is made again.
    again = load_or_make_node_key(path, database_is_empty=True)
    assert again.open("check", sealed) == b"x"


def test_a_key_is_synced_before_it_has_its_name_and_then_its_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        calls.append("fsync folder" if is_folder else "fsync file")
        real_fsync(descriptor)

    def link(source: str, target: Path) -> None:
        calls.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)

    load_or_make_node_key(tmp_path / "node.key", database_is_empty=True)

    assert calls == ["fsync file", "link", "fsync folder"]


def test_a_key_that_another_process_made_meanwhile_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.key"
    theirs = bytes(range(32))
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if not path.exists():
            path.touch(0o600)
            path.write_bytes(theirs)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    load_or_make_node_key(path, database_is_empty=True)

    assert path.read_bytes() == theirs


def test_an_absent_key_is_never_made_for_a_database_with_secrets(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.key"
    with pytest.raises(NodeKeyError, match=r"missing.*put the key's copy back"):
        load_or_make_node_key(path, database_is_empty=False)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o610, 0o601])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(bytes(32))
    path.chmod(mode)
    with pytest.raises(NodeKeyError, match="chmod 600"):
        load_or_make_node_key(path, database_is_empty=False)


@pytest.mark.parametrize("length", [0, 31, 33, 4096])
def test_a_key_file_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(NodeKeyError, match="exactly 32 octets"):
        load_or_make_node_key(path, database_is_empty=False)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(0o700)
    for path in (tmp_path / "folder", Path("/dev/zero")):
        with pytest.raises(NodeKeyError):
            load_or_make_node_key(path, database_is_empty=False)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeKeyError, match="cannot be made: No such file"):
        load_or_make_node_key(tmp_path / "no" / "node.key", database_is_empty=True)


def test_a_supplied_key_is_used_and_never_written(tmp_path: Path) -> None:
    supplied, path = tmp_path / "supplied", tmp_path / "node.key"
    supplied.write_bytes(bytes(32))
    supplied.chmod(0o440)  # as systemd makes it, with an ACL for the service's user

    sealer = load_or_make_node_key(path, database_is_empty=True, supplied=supplied)

    assert sealer.open("check", Sealer(bytes(32)).seal("check", b"x")) == b"x"
    assert not path.exists()
    supplied.chmod(0o444)
    with pytest.raises(NodeKeyError):
        load_or_make_node_key(path, database_is_empty=True, supplied=supplied)
    supplied.unlink()
    with pytest.raises(NodeKeyError, match="cannot be read"):
        load_or_make_node_key(path, database_is_empty=True, supplied=supplied)


def test_a_secret_shows_only_when_it_is_asked_to() -> None:
    secret = Secret(b"canary")

    shown = f"{secret} {secret!r} {[secret]} {Sealer(b'canary' + bytes(26))!r}"

    assert "canary" not in shown
    assert secret.reveal() == b"canary"
    assert secret == Secret(b"canary")
    assert secret != Secret(b"canarx")
    assert secret != b"canary"
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)
