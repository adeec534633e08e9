import errno
import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from mailwright.store.bodies import BodyMissingError, BodyNameError, BodyStore
from mailwright.store.ports import StoreError, StoreFailedError, StoreFullError

DAY = date(2026, 1, 2)


@pytest.fixture
def bodies(tmp_path: Path) -> BodyStore:
    return BodyStore(tmp_path)


def none_known(names: list[str]) -> set[str]:
    return set()


def test_a_body_comes_back_as_it_was_written(bodies: BodyStore) -> None:
    name = bodies.write(DAY, 255, [b"one\r\n", b"", b"two\0"])
    assert name == "20260102/00000000000000ff"
    assert bodies.read(name) == b"one\r\ntwo\0"


def test_the_largest_id_has_a_name(bodies: BodyStore) -> None:
    name = bodies.write(DAY, (1 << 63) - 1, [b"x"])
    assert bodies.read(name) == b"x"


def test_a_name_names_a_synced_file_in_synced_folders(
    bodies: BodyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order on which a power cut must not be able to catch us."""
    calls: list[str] = []
    real_sync, real_rename, real_mkdir = os.fsync, Path.rename, Path.mkdir

    def sync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        calls.append(f"sync {path.relative_to(tmp_path)}")
        if path.is_file():
            assert path.read_bytes() == b"whole"  # nothing is left in a buffer
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        calls.append(f"rename to {target.relative_to(tmp_path)}")
        return real_rename(self, target)

    def mkdir(self: Path, mode: int = 0o777, *, exist_ok: bool = False) -> None:
        calls.append(f"mkdir {self.relative_to(tmp_path)}")
        real_mkdir(self, mode, exist_ok=exist_ok)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    bodies.write(DAY, 1, [b"wh", b"ole"])
    assert calls == [
        "mkdir 20260102",
        "sync .",
        "sync 20260102/0000000000000001.new",
        "rename to 20260102/0000000000000001",
        "sync 20260102",
    ]
    calls.clear()
    bodies.write(DAY, 2, [b"whole"])
    assert calls == [
        "sync 20260102/0000000000000002.new",
        "rename to 20260102/0000000000000002",
        "sync 20260102",
    ]


def test_a_folder_that_an_earlier_start_made_is_synced_again(tmp_path: Path) -> None:
    """Its maker may have died before it synced the entry."""
    (tmp_path / "20260102").mkdir()
    synced: list[str] = []
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        BodyStore(tmp_path).write(DAY, 1, [b"x"])
    assert synced[0] == str(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        "20260102/../../x",
        "/20260102/0000000000000001",
        "20260102/0000000000000001\n",
        "20260102/0000000000000001.new",
        "20260102/000000000000000G",
        "20260102/00000000000000",
        "20260102\\0000000000000001",
        "٢٠٢٦٠١٠٢/0000000000000001",
    ],
)
def test_no_name_but_ours_reaches_the_file_system(
    bodies: BodyStore, tmp_path: Path, name: str
) -> None:
    bodies.write(DAY, 1, [b"x"])
    with pytest.raises(BodyNameError):
        bodies.read(name)
    with pytest.raises(BodyNameError):
        bodies.remove(name)
    assert (tmp_path / "20260102" / "0000000000000001").exists()


def test_a_missing_body_is_named_and_removing_it_twice_is_no_error(
    bodies: BodyStore,
) -> None:
    name = bodies.write(DAY, 1, [b"x"])
    bodies.remove(name)
    bodies.remove(name)
    with pytest.raises(BodyMissingError, match=name):
        bodies.read(name)


def test_a_link_in_the_folder_is_not_followed(
    bodies: BodyStore, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "20260102").mkdir()
    (tmp_path / "20260102" / "0000000000000001.new").symlink_to(victim)
    with pytest.raises(StoreError):
        bodies.write(DAY, 1, [b"overwritten"])
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EIO, StoreFailedError),
        (errno.EMFILE, StoreError),
    ],
)
def test_a_refusal_of_the_system_has_a_name_no_path_and_leaves_nothing(
    bodies: BodyStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[StoreError],
) -> None:
    bodies.write(DAY, 1, [b"x"])

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError) as caught:
            bodies.write(DAY, 2, [b"y"])
    assert type(caught.value) is kind
    assert str(tmp_path) not in str(caught.value)
    assert os.listdir(tmp_path / "20260102") == ["0000000000000001"]
    bodies.write(DAY, 2, [b"y"])  # there is room again


def test_chunks_that_fail_leave_nothing(bodies: BodyStore, tmp_path: Path) -> None:
    def chunks() -> Iterable[bytes]:
        yield b"begin"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bodies.write(DAY, 1, chunks())
    assert os.listdir(tmp_path / "20260102") == []


def test_sweeping_removes_orphans_of_earlier_starts_only(
    bodies: BodyStore, tmp_path: Path
) -> None:
    kept = bodies.write(DAY, 1, [b"x"])
    orphan = bodies.write(date(2026, 1, 3), 2, [b"x"])
    fresh = bodies.write(DAY, 100, [b"x"])  # its row may be on its way
    passing = tmp_path / "20260102" / "0000000000000005.new"
    passing.write_bytes(b"half")
    foreign = tmp_path / "20260102" / "README"
    foreign.write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    asked: list[str] = []

    def known(names: list[str]) -> set[str]:
        asked.extend(names)
        return {kept}

    assert bodies.sweep(known, below=100) == 2
    assert asked == [kept, orphan]
    assert bodies.read(kept) == bodies.read(fresh) == b"x"
    with pytest.raises(BodyMissingError):
        bodies.read(orphan)
    assert not passing.exists()
    assert foreign.exists()


def test_sweeping_asks_in_batches(bodies: BodyStore, tmp_path: Path) -> None:
    folder = tmp_path / "20260102"
    folder.mkdir()
    for number in range(1_001):
        (folder / f"{number:016x}").touch()
    sizes: list[int] = []

    def known(names: list[str]) -> set[str]:
        sizes.append(len(names))
        return set(names)

    assert bodies.sweep(known, below=5_000) == 0
    assert sizes == [500, 500, 1]
    assert bodies.sweep(none_known, below=5_000) == 1_001
