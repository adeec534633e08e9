"""The files on disk: nobody can find them, and they leave the disk some room."""

import asyncio
import errno
import os
import resource
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.door import until
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.spool import Spool, Spools, open_nameless
from mailwright.store.health import Reserve

NO_RESERVE = Reserve(0, share=0.0, inodes=0)
ALL_OF_IT = Reserve(0, share=1.0, inodes=0)


@pytest.fixture(params=["without a name", "unlinked"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a folder on a file system with, and on one without, O_TMPFILE."""
    if request.param == "unlinked":
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    return tmp_path


def in_folder(folder: Path, reserve: Reserve = NO_RESERVE) -> Spools:
    return Spools.in_folder(folder, reserve, ByteBudget(1_000_000))


def begun(spools: Spools) -> Spool:
    spool = spools.begin()
    assert spool is not None
    return spool


def open_descriptors(folder: Path) -> Iterator[os.stat_result]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target, found = entry.readlink(), entry.stat()
        except OSError:
            continue
        if target.is_relative_to(folder) and stat.S_ISREG(found.st_mode):
            yield found


def test_a_file_has_no_name_and_is_nobodys_business(folder: Path) -> None:
    async def scene() -> None:
        spools = in_folder(folder)
        spool = begun(spools)
        await spool.write(b"x" * 100_000)
        (found,) = open_descriptors(folder)
        assert found.st_nlink == 0
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert os.listdir(folder) == []
        spool.discard()
        await until(lambda: spools.open_files == 0)
        assert list(open_descriptors(folder)) == []

    asyncio.run(scene())


def test_what_was_written_is_read_with_the_rest_behind_it(folder: Path) -> None:
    async def scene() -> None:
        spool = begun(in_folder(folder))
        for piece in (b"one", b"two", b""):
            await spool.write(piece)
        assert spool.octets == 6
        assert await spool.read_with(b"three") == b"onetwothree"
        spool.discard()

    asyncio.run(scene())


def test_a_disk_without_its_reserve_is_full(folder: Path) -> None:
    async def scene() -> None:
        spool = begun(in_folder(folder, ALL_OF_IT))
        with pytest.raises(OSError, match="No space") as caught:
            await spool.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        spool.discard()

    asyncio.run(scene())
    assert list(folder.iterdir()) == []


def test_the_reserve_is_looked_at_before_every_write(tmp_path: Path) -> None:
    file = open_nameless(tmp_path, NO_RESERVE)
    try:
        assert file.write(memoryview(b"x")) == 1
        file._reserve = ALL_OF_IT  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="No space"):
            file.write(memoryview(b"x"))
    finally:
        file.close()


def test_a_discarded_file_is_not_written_or_made(tmp_path: Path) -> None:
    async def scene() -> None:
        spools = in_folder(tmp_path)
        spool = begun(spools)
        spool.discard()
        await until(lambda: spools.open_files == 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            await spool.write(b"x")

    asyncio.run(scene())
    assert list(open_descriptors(tmp_path)) == []


def test_a_folder_that_is_gone_fails_as_a_file_does(tmp_path: Path) -> None:
    async def scene() -> None:
        spool = begun(in_folder(tmp_path / "gone"))
        with pytest.raises(FileNotFoundError):
            await spool.write(b"x")
        spool.discard()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("limit", "most"), [(1_024, 256), (20_000, 4_096), (resource.RLIM_INFINITY, 4_096)]
)
def test_files_take_a_quarter_of_the_descriptors(
    limit: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    spools = in_folder(tmp_path)
    for _ in range(most):
        begun(spools)
    assert spools.begin() is None
