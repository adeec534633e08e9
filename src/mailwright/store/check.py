"""Is the database what it was? Looked at before a start, and all of it after.

A database that is gone or empty where one was is refused: to begin anew in its place
would hide the loss. After the start, every table is checked in the background, one
snapshot each, with a rest as long as the look. What is found damaged is written down
beside the file, and the next start is refused until a person has restored a backup or
``mailwright db check`` finds nothing any more.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from mailwright.store.folders import sync_folder
from mailwright.store.ports import StoreError
from mailwright.store.sqlite import open_reader

#: A table is looked at for so long: a snapshot keeps the log from being emptied.
TABLE_LIMIT_S: Final = 10.0
#: Damage that is told of one table; more would say nothing new.
_FINDINGS_MAX: Final = 10
#: Steps of SQLite's machine between two looks whether to stop.
_STEPS: Final = 20_000
#: What SQLite says of damage, instead of looking further.
DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_TABLES: Final = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name"
)


class DatabaseLostError(StoreError):
    """There was a database, and it is gone or empty."""


class DatabaseDamagedError(StoreError):
    """The database was found damaged, and nobody has seen to it."""


@dataclass(slots=True)
class Checked:
    """What a check found.

    Attributes:
        findings: damage, in SQLite's words.
        unfinished: tables that took longer than allowed.
    """

    tables: int = 0
    findings: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def refuse_lost(database: Path) -> None:
    """Refuse a database that is gone, or was found damaged; blocks.

    Raises:
        DatabaseLostError: there was one at this path.
        DatabaseDamagedError: a check found damage since the last restore.
        OSError: the folder cannot be read.
    """
    if is_lost(database):
        raise DatabaseLostError(
            f"the database {database} is gone or empty, and there was one: put it back, "
            "or restore a backup (mailwright restore); to begin anew without what it "
            f"held, remove {_made(database)}"
        )
    with contextlib.suppress(FileNotFoundError):
        findings = _mark(database).read_text(errors="replace").strip()
        raise DatabaseDamagedError(
            f"the database {database} was found damaged:\n{findings}\nrestore a backup "
            "(mailwright restore --replace); if it was repaired, mailwright db check "
            "lifts this"
        )


def is_lost(database: Path) -> bool:
    """Whether there was a database that is gone or has no octets; blocks."""
    if not _made(database).exists():
        return False
    try:
        return database.stat().st_size == 0
    except FileNotFoundError:
        return True


def note_made(database: Path) -> None:
    """Remember, durably, that there is a database at this path; blocks."""
    if not _made(database).exists():
        _write_synced(
            _made(database),
            f"{database.name} was made here. While this file stands, a node does not "
            "start without it.\n",
        )


def mark_damaged(database: Path, findings: Sequence[str]) -> None:
    """Write damage down for the next start, durably; blocks."""
    _write_synced(_mark(database), "\n".join(findings) + "\n")


def clear_mark(database: Path) -> None:
    """Forget damage that was seen to; blocks."""
    _mark(database).unlink(missing_ok=True)


class QuickCheck:
    """Checks every table, each in a snapshot of its own, half of the time at most.

    Looks at structure and values, not whether indexes agree with their tables.
    """

    def __init__(self, database: Path, *, table_limit_s: float = TABLE_LIMIT_S) -> None:
        """A table for which ``table_limit_s`` is too short is left unfinished."""
        self._database = database
        self._table_limit_s = table_limit_s
        self._stopped = threading.Event()
        self._connection: sqlite3.Connection | None = None

    async def run(self) -> Checked:
        """Check on a thread; cancelled, it stops at once.

        Raises:
            sqlite3.Error: the database cannot be opened or read.
        """
        running = asyncio.get_running_loop().run_in_executor(None, self.look)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait((running,))
            raise

    def look(self) -> Checked:
        """Check; blocks.

        Raises:
            sqlite3.Error: the database cannot be opened or read.
        """
        checked = Checked()
        with closing(open_reader(self._database)) as connection:
            self._connection = connection
            try:
                for name in _tables(connection, checked):
                    began_at = perf_counter()
                    self._limit(connection, began_at + self._table_limit_s)
                    limit = threading.Timer(self._table_limit_s, connection.interrupt)
                    limit.daemon = True
                    limit.start()
                    try:
                        _look(connection, name, checked)
                    finally:
                        limit.cancel()
                        limit.join()
                    if self._stopped.wait(perf_counter() - began_at):
                        break
            finally:
                self._connection = None
        return checked

    def _limit(self, connection: sqlite3.Connection, end: float) -> None:
        """Let a look end at ``end``, or when it is to stop, between two steps.

        Beside it stands an interrupt, which reaches a long step as well.
        """

        def is_over() -> bool:
            return self._stopped.is_set() or perf_counter() > end

        connection.set_progress_handler(is_over, _STEPS)

    def stop(self) -> None:
        """Let :meth:`look` return soon; call it from any thread."""
        self._stopped.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                connection.interrupt()


def full_check(database: Path, *, with_indexes: bool) -> Checked:
    """Check all of the database in one snapshot, however long it takes; blocks.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    checked = Checked()
    how = "integrity_check" if with_indexes else "quick_check"
    with closing(open_reader(database)) as connection:
        checked.tables = len(_tables(connection, checked))
        _take(connection, f"PRAGMA {how}({_FINDINGS_MAX})", checked)
    return checked


def _tables(connection: sqlite3.Connection, checked: Checked) -> list[str]:
    try:
        return [row[0] for row in connection.execute(_TABLES)]
    except sqlite3.DatabaseError as error:
        checked.findings.append(str(error))
        return []


def _look(connection: sqlite3.Connection, table: str, checked: Checked) -> None:
    try:
        _take(connection, f'PRAGMA quick_check("{table}")', checked)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            checked.unfinished.append(table)
        elif error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return  # a day's table that was dropped meanwhile
    checked.tables += 1


def _take(connection: sqlite3.Connection, pragma: str, checked: Checked) -> None:
    try:
        rows = connection.execute(pragma).fetchmany(_FINDINGS_MAX)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in DAMAGE:
            raise
        rows = [(str(error),)]
    checked.findings += [row[0] for row in rows if row[0] != "ok"]


def _made(database: Path) -> Path:
    return database.with_name(f"{database.name}.made")


def _mark(database: Path) -> Path:
    return database.with_name(f"{database.name}.damaged")


def _write_synced(path: Path, text: str) -> None:
    passing = path.with_name(path.name + ".new")
    with passing.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    passing.rename(path)
    sync_folder(path.parent)
