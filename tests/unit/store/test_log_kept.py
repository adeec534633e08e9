"""A log that is gone is not passed over in silence."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from mailwright.clock import ManualClock
from mailwright.store.log_kept import LogLostError, expect_log, release_log
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store


def settings_in(folder: Path) -> StoreSettings:
    return StoreSettings(folder / "test.db", folder, "n1")


async def copy_of_a_running_one(folder: Path) -> Path:
    """Return a folder with what a node leaves that is killed."""
    (folder / "live").mkdir()
    store = await Store.open(settings_in(folder / "live"), clock=ManualClock())
    left = folder / "left"
    left.mkdir()
    for each in (folder / "live").iterdir():
        (left / each.name).write_bytes(each.read_bytes())
    await store.close()
    return left


def test_a_database_that_was_not_closed_does_not_start_without_its_log(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        left = await copy_of_a_running_one(tmp_path)
        (left / "test.db-wal").unlink()
        for _ in range(2):  # looking must not change what is seen
            with pytest.raises(LogLostError, match=r"test\.db-wal is gone"):
                await Store.open(settings_in(left), clock=ManualClock())

    asyncio.run(main())


def test_a_database_that_was_not_closed_starts_with_its_log(tmp_path: Path) -> None:
    async def main() -> None:
        left = await copy_of_a_running_one(tmp_path)
        store = await Store.open(settings_in(left), clock=ManualClock())
        assert store.epoch == 2
        await store.close()

    asyncio.run(main())


def test_a_closed_database_needs_no_log(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(2):
            store = await Store.open(settings_in(tmp_path), clock=ManualClock())
            assert (tmp_path / "test.db-wal").exists()
            await store.close()
            assert not (tmp_path / "test.db-wal").exists()

    asyncio.run(main())


def test_an_open_that_fails_does_not_keep_the_next_one_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        def broken(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("no reader")

        with monkeypatch.context() as patch:
            patch.setattr("mailwright.store.store.Readers", broken)
            with pytest.raises(sqlite3.OperationalError):
                await Store.open(settings_in(tmp_path), clock=ManualClock())
        store = await Store.open(settings_in(tmp_path), clock=ManualClock())
        await store.close()

    asyncio.run(main())


def test_noting_twice_is_noting_once(tmp_path: Path) -> None:
    database = tmp_path / "test.db"
    expect_log(database)
    expect_log(database)
    release_log(database)
    release_log(database)
    assert list(tmp_path.iterdir()) == []
