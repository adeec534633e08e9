"""SQLite as the store uses it: connections whose settings are proven, errors by name.

A PRAGMA that SQLite does not know or will not obey is no error to it. So every one is
set, asked for, and compared: a node that believes its commits are synced must be right.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

from mailwright.store.ports import (
    StoreConflictError,
    StoreError,
    StoreFailedError,
    StoreFullError,
)

#: Marks are positional: binding by position takes half the time of binding by name.
DIALECT: Final[Dialect] = sqlite.dialect(paramstyle="qmark")

#: How long a statement waits for a lock of a foreign process.
_BUSY_MS: Final = 5_000
#: Distinct statements kept prepared for each connection.
_STATEMENTS: Final = 512

#: Of the writing connection: what is set, and what must be answered.
WRITER_PRAGMAS: Final[Mapping[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: a commit returns after its sync
    "busy_timeout": _BUSY_MS,
    # The writer checkpoints by itself, after it has answered, and sees the errors.
    "wal_autocheckpoint": 0,
    "journal_size_limit": 64 << 20,
    "cache_size": -16 << 10,  # KiB; what is not in it is in the system's
    "temp_store": 2,  # memory: a full disk must not fail a sort
    "trusted_schema": 0,
    "locking_mode": "normal",
}
#: Of a reading connection.
READER_PRAGMAS: Final[Mapping[str, int | str]] = {
    "query_only": 1,
    "journal_mode": "wal",
    "busy_timeout": _BUSY_MS,
    "cache_size": -4 << 10,
    "temp_store": 2,
    "trusted_schema": 0,
}
#: Asked for but not set: a reader may not change the file.
_ONLY_ASKED: Final = {"query_only": frozenset({"journal_mode"})}


class PragmaRefusedError(StoreError):
    """SQLite did not take a setting on which durability or safety rests."""

    def __init__(self, name: str, wanted: int | str, answer: object) -> None:
        super().__init__(
            f"SQLite answers {answer!r} to PRAGMA {name} where it must be {wanted!r}; "
            "the database must lie on a local file system"
        )
        self.name = name
        self.wanted = wanted
        self.answer = answer


def set_pragmas(
    connection: sqlite3.Connection, pragmas: Mapping[str, int | str]
) -> None:
    """Set each of ``pragmas`` and compare what SQLite then answers.

    Raises:
        PragmaRefusedError: an answer differs.
    """
    only_asked = frozenset().union(
        *(names for key, names in _ONLY_ASKED.items() if key in pragmas)
    )
    for name, wanted in pragmas.items():
        if name not in only_asked:
            connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
        row = connection.execute(f"PRAGMA {name}").fetchone()
        answer = None if row is None else row[0]
        if answer != wanted:
            raise PragmaRefusedError(name, wanted, answer)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one writing connection, for the calling thread; makes the file.

    Raises:
        PragmaRefusedError: a setting was not taken.
        sqlite3.Error: the file cannot be opened.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, cached_statements=_STATEMENTS
    )
    try:
        set_pragmas(connection, WRITER_PRAGMAS)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write, for one thread at a time.

    Raises:
        PragmaRefusedError: a setting was not taken.
        sqlite3.Error: the file cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        cached_statements=_STATEMENTS,
        check_same_thread=False,  # lent to one reader thread after another
    )
    try:
        set_pragmas(connection, READER_PRAGMAS)
    except BaseException:
        connection.close()
        raise
    return connection


#: What an error code means; the low octet names the kind. Everything else of SQLite
#: (a wrong statement, a misuse, an interrupt) concerns only the unit it came up in.
_CONFLICT: Final = sqlite3.SQLITE_CONSTRAINT
_FULL: Final = frozenset(
    # Growing the wal-index fails on a full disk; nothing durable is lost with it.
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
)
_FINAL: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def named_error(error: Exception, doing: str) -> StoreError:
    """Return what ``error`` means to whoever handed in a unit.

    ``doing`` is the statement's name. Values never appear in the text.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # not of SQLite: a parameter that is missing or of a wrong type
        return StoreError(f"{doing}: {type(error).__name__}: {error}")
    text = f"{doing}: {error}"
    if code in _FULL or code & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFullError(text)
    if code & 0xFF == _CONFLICT:
        return StoreConflictError(text)
    if code & 0xFF in _FINAL:
        return StoreFailedError(f"{text} ({getattr(error, 'sqlite_errorname', code)})")
    return StoreError(text)
