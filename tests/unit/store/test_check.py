"""A database that is not what it was: found by the check, refused at the start."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from mailwright.store.check import (
    DatabaseDamagedError,
    DatabaseLostError,
    QuickCheck,
    clear_mark,
    full_check,
    mark_damaged,
    note_made,
)
from mailwright.store.sqlite import open_reader, open_writer
from unit.store.rig import opened

ROWS = 2_000


def make_database(folder: Path, tables: int = 3) -> Path:
    path = folder / "mailwright.db"
    with closing(open_writer(path)) as connection:
        for number in range(tables):
            connection.execute(
                f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, x TEXT)"
            )
            connection.execute("BEGIN")
            connection.executemany(
                f"INSERT INTO t{number} (x) VALUES (?)", [("y" * 100,)] * ROWS
            )
            connection.execute("COMMIT")
        connection.execute("CREATE INDEX of_x ON t0 (x)")
    return path


def damage(path: Path, name: str) -> None:
    """Overwrite the root page of a table or an index."""
    with closing(sqlite3.connect(path)) as connection:
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
        [(root,)] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchall()
    octets = bytearray(path.read_bytes())
    start = (root - 1) * size
    octets[start : start + 64] = b"\xff" * 64
    path.write_bytes(octets)


def check(path: Path, **changes: float):
    return asyncio.run(QuickCheck(path, **changes).run())


def test_a_sound_database_has_no_findings(tmp_path: Path) -> None:
    path = make_database(tmp_path)
    checked = check(path)
    assert (checked.tables, checked.findings, checked.unfinished) == (3, [], [])
    assert full_check(path, with_indexes=True).findings == []


@pytest.mark.parametrize("name", ["t1", "t2", "of_x"])
def test_a_damaged_page_is_found_wherever_it_is(tmp_path: Path, name: str) -> None:
    path = make_database(tmp_path)
    damage(path, name)
    assert check(path).findings
    assert full_check(path, with_indexes=False).findings


def test_a_table_that_takes_too_long_is_told_and_the_others_are_checked(
    tmp_path: Path,
) -> None:
    path = make_database(tmp_path)
    with closing(open_writer(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO t1 (x) VALUES (?)", [("y" * 200,)] * 100_000
        )
        connection.execute("COMMIT")
    checked = check(path, table_limit_s=0.001)
    assert "t1" in checked.unfinished
    assert checked.findings == []


def test_a_check_that_is_cancelled_ends_soon_and_lets_its_connection_go(
    tmp_path: Path,
) -> None:
    path = make_database(tmp_path, tables=1)
    looked = threading.Event()

    class Watched(QuickCheck):
        def look(self):
            looked.set()
            return super().look()

    async def main() -> None:
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            checking = tasks.create_task(Watched(path).run())
            await asyncio.to_thread(looked.wait, 10)
            checking.cancel()
        assert checking.cancelled()

    asyncio.run(main())
    # Nobody reads any more: the writer may take all of the log and remove it.
    with closing(open_writer(path)) as connection:
        connection.execute("INSERT INTO t0 (x) VALUES ('z')")
        [(busy, *_)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert busy == 0


def open_once(folder: Path) -> None:
    async def main() -> None:
        async with opened(folder):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("spoil", [Path.unlink, Path.touch], ids=["gone", "empty"])
def test_a_database_that_is_gone_is_not_made_anew(tmp_path: Path, spoil) -> None:
    open_once(tmp_path)
    path = tmp_path / "mailwright.db"
    path.unlink()
    if spoil is Path.touch:
        path.touch()
    with pytest.raises(DatabaseLostError, match=r"mailwright\.db\.made"):
        open_once(tmp_path)
    # The control: where there never was one, it is made; also after a crash in between.
    (tmp_path / "mailwright.db.made").unlink()
    open_once(tmp_path)
    open_once(tmp_path)


def test_a_database_that_was_found_damaged_is_refused_until_somebody_saw_to_it(
    tmp_path: Path,
) -> None:
    open_once(tmp_path)
    path = tmp_path / "mailwright.db"
    mark_damaged(path, ["row 7 is missing from index x"])
    with pytest.raises(DatabaseDamagedError, match="row 7 is missing"):
        open_once(tmp_path)
    clear_mark(path)
    open_once(tmp_path)


def test_the_note_of_a_database_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "mailwright.db"
    note_made(path)
    before = (tmp_path / "mailwright.db.made").stat().st_ino
    note_made(path)
    assert (tmp_path / "mailwright.db.made").stat().st_ino == before


def test_a_reader_of_the_check_cannot_write(tmp_path: Path) -> None:
    path = make_database(tmp_path)
    with (
        closing(open_reader(path)) as connection,
        pytest.raises(sqlite3.OperationalError),
    ):
        connection.execute("DELETE FROM t0")
