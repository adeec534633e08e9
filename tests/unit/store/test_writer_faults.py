"""What the store does when the disk is full, fails, or is held by someone else."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailwright.store.ports import StoreError, StoreFailedError, StoreFullError
from mailwright.store.sqlite import (
    WRITER_PRAGMAS,
    named_error,
    set_pragmas,
)
from mailwright.store.statements import unit
from unit.store.rig import ADD, DEADLINE_S, TAKE, Rig, drive, note, running

LONG = "x" * 40_000


def full_at(pages: int) -> Callable[[sqlite3.Connection], None]:
    return lambda connection: connection.execute(
        f"PRAGMA max_page_count = {pages}"
    ).close()


def test_a_full_disk_fails_units_by_name_and_heals(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db", prepare=full_at(64))) as rig:
            count = 0
            while (answer := rig.submit(note(LONG + str(count), logged=True))) and (
                await answer.heard.wait() and answer.error is None
            ):
                count += 1
            assert count > 0
            assert type(answer.error) is StoreFullError
            assert not rig.failures
            # What needs no room still goes through, and makes room.
            taken = rig.submit(unit(TAKE(which=LONG + "0")))
            await taken.heard.wait()
            assert taken.error is None
            again = rig.submit(note(LONG + "again", logged=True))
            await again.heard.wait()
            assert again.error is None
            seqs = [seq for (seq,) in rig.rows("SELECT seq FROM log")]
            assert seqs == list(range(1, count + 2))

    drive(main())


def test_on_a_full_disk_the_small_units_of_a_turn_are_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db", prepare=full_at(16))) as rig:
            await rig.hold()
            first = rig.submit(note("first"))
            large = rig.submit(note("x" * 200_000))
            last = rig.submit(note("last"))
            rig.gate.opened.set()
            await last.heard.wait()
            assert type(large.error) is StoreFullError
            assert first.error is last.error is None
            assert rig.rows("SELECT name FROM notes") == [("first",), ("last",)]

    drive(main())


class FaultyConnection(sqlite3.Connection):
    """Fails one statement, once, with an error of SQLite's choosing."""

    fault: tuple[str, int] | None = None

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor = super().cursor(FaultyCursor)
        cursor.owner = self
        return cursor


class FaultyCursor(sqlite3.Cursor):
    owner: FaultyConnection

    def execute(self, sql: str, *args: Any) -> Any:
        if self.owner.fault is not None and sql == self.owner.fault[0]:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.owner.fault[1]
            self.owner.fault = None
            raise error
        return super().execute(sql, *args)


def faulty_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, factory=FaultyConnection)
    set_pragmas(connection, WRITER_PRAGMAS)
    return connection


def faulty_rig(path: Path) -> tuple[Rig, list[FaultyConnection]]:
    made: list[FaultyConnection] = []

    def keep(connection: sqlite3.Connection) -> None:
        assert isinstance(connection, FaultyConnection)
        made.append(connection)

    return Rig(path, connect=faulty_writer, prepare=keep), made


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC),
        ("COMMIT", sqlite3.SQLITE_IOERR_WRITE),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_IOERR_READ),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_CORRUPT),
    ],
)
def test_a_failed_disk_is_final(tmp_path: Path, statement: str, code: int) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        async with running(rig):
            await rig.submit(note("before")).heard.wait()
            made[0].fault = (statement, code)
            units = [rig.submit(note(f"n{i}")) for i in range(3)]
            for answer in units:
                await answer.heard.wait()
            assert {type(answer.error) for answer in units} == {StoreFailedError}
            assert len(rig.answers) == 4  # each heard once
            # The fault is over, but nothing is accepted any more.
            later = rig.submit(note("later"))
            await later.heard.wait()
            assert type(later.error) is StoreFailedError
            assert len(rig.failures) == 1
        assert rig.rows("SELECT name FROM notes") == [("before",)]

    drive(main())


def test_units_that_waited_when_the_disk_failed_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        rig.writer._turn_s = 0.0
        async with running(rig):
            held = await rig.hold()
            made[0].fault = ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC)
            waiting = [rig.submit(note(f"n{i}", bulk=bool(i))) for i in range(2)]
            rig.gate.opened.set()
            for answer in (held, *waiting):
                await answer.heard.wait()
                assert type(answer.error) is StoreFailedError

    drive(main())


def test_a_commit_that_finds_no_room_is_tried_for_each_unit(tmp_path: Path) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        async with running(rig):
            await rig.hold()
            units = [rig.submit(note(f"n{i}", logged=True)) for i in range(3)]
            made[0].fault = ("COMMIT", sqlite3.SQLITE_FULL)
            rig.gate.opened.set()
            for answer in units:
                await answer.heard.wait()
                assert answer.error is None
            assert rig.rows("SELECT seq FROM log") == [(1,), (2,), (3,)]

    drive(main())


def test_what_is_handed_in_while_the_disk_fails_is_answered_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        async with running(rig):
            handed_in = [rig.submit(note("first"))]
            await handed_in[0].heard.wait()
            made[0].fault = ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC)
            while not rig.failures:
                handed_in.append(rig.submit(note(f"n{len(handed_in)}")))
                await asyncio.sleep(0)
            handed_in.append(rig.submit(note("last")))
            for answer in handed_in:
                await answer.heard.wait()
        assert len(rig.answers) == len(handed_in)
        assert {type(each.error) for each in handed_in[1:]} <= {
            type(None),
            StoreFailedError,
        }
        assert type(handed_in[-1].error) is StoreFailedError

    drive(main())


def test_a_disk_that_fails_while_units_are_isolated_is_final(tmp_path: Path) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        async with running(rig):
            await rig.hold()
            units = [rig.submit(note("same")) for _ in range(3)]
            made[0].fault = ("SAVEPOINT one", sqlite3.SQLITE_IOERR_WRITE)
            rig.gate.opened.set()
            for answer in units:
                await answer.heard.wait()
                assert type(answer.error) is StoreFailedError
        # The answers come first.
        assert len(rig.failures) == 1

    drive(main())


def test_a_foreign_lock_delays_units_and_does_not_fail_them(tmp_path: Path) -> None:
    tried = threading.Semaphore(0)

    def impatient(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA busy_timeout = 1")
        connection.set_trace_callback(
            lambda sql: tried.release() if sql == "BEGIN IMMEDIATE" else None
        )

    async def main() -> None:
        async with running(Rig(tmp_path / "db", prepare=impatient)) as rig:
            other = sqlite3.connect(rig.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            answer = rig.submit(note("a"))
            for _ in range(2):  # the second time, the first was in vain
                assert await asyncio.to_thread(tried.acquire, timeout=DEADLINE_S)
            assert not answer.heard.is_set()
            other.execute("ROLLBACK")
            other.close()
            await answer.heard.wait()
            assert answer.error is None

    drive(main())


def test_a_bug_in_the_thread_ends_the_store_and_leaves_nobody_waiting(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            broken = rig.submit(unit(ADD))  # type: ignore[arg-type]
            good = rig.submit(note("a"))
            for answer in (broken, good):
                await answer.heard.wait()
            assert isinstance(broken.error, StoreError)

    drive(main())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, "StoreConflictError"),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, "StoreConflictError"),
        (sqlite3.SQLITE_FULL, "StoreFullError"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, "StoreFullError"),
        (sqlite3.SQLITE_IOERR_FSYNC, "StoreFailedError"),
        (sqlite3.SQLITE_IOERR_WRITE, "StoreFailedError"),
        (sqlite3.SQLITE_CORRUPT, "StoreFailedError"),
        (sqlite3.SQLITE_READONLY, "StoreFailedError"),
        (sqlite3.SQLITE_BUSY, "StoreError"),
        (sqlite3.SQLITE_ERROR, "StoreError"),
        (sqlite3.SQLITE_INTERRUPT, "StoreError"),
    ],
)
def test_errors_of_sqlite_have_names(code: int, kind: str) -> None:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode = code
    assert type(named_error(error, "x")).__name__ == kind
