"""Read-only connections, each lent to one reader thread at a time."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Final

from mailwright.store.execution import UNIT_ERRORS
from mailwright.store.ports import StoreError
from mailwright.store.sqlite import DIALECT, named_error, open_reader
from mailwright.store.statements import Bound, Row

#: Reads that may wait for a thread; more are refused at once.
WAITING_MAX: Final = 1_000
#: Steps of SQLite's machine between two looks at the clock (under a millisecond).
_STEPS: Final = 20_000


class StoreBusyError(StoreError):
    """More reads wait than the readers can serve; try again later."""


class ReadTooLongError(StoreError):
    """A snapshot was read for longer than allowed; continue by key instead."""


class Readers:
    """A few threads that read snapshots."""

    def __init__(self, path: Path, *, readers: int, limit_s: float) -> None:
        """Open the connections; blocks. The writer must be open already.

        Raises:
            PragmaRefusedError: a setting was not taken.
            sqlite3.Error: the file cannot be opened.
        """
        self._limit_s = limit_s
        self._idle: list[sqlite3.Connection] = []
        try:
            for _ in range(readers):
                self._idle.append(open_reader(path))
        except BaseException:
            self._close_connections()
            raise
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._waiting = 0

    async def read(self, bounds: Sequence[Bound]) -> list[list[Row]]:
        """Return each statement's rows, all from one snapshot.

        A cancelled caller leaves the read running until its limit.

        Raises:
            ReadTooLongError: it took longer than the limit.
            StoreBusyError: too many reads wait.
            StoreError: a statement failed.
        """
        if self._waiting >= WAITING_MAX:
            raise StoreBusyError(f"{self._waiting} reads wait already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._read, bounds
            )
        finally:
            self._waiting -= 1

    def _read(self, bounds: Sequence[Bound]) -> list[list[Row]]:
        # There are as many connections as threads, so one is idle; the last one used
        # has the warmest cache.
        connection = self._idle.pop()
        end = perf_counter() + self._limit_s
        connection.set_progress_handler(lambda: perf_counter() > end, _STEPS)
        doing = "BEGIN"
        try:
            connection.execute("BEGIN")
            rows: list[list[Row]] = []
            for query, params in bounds:
                doing = query.name
                compiled = query.compiled(DIALECT)
                values = {**compiled.fixed, **params} if compiled.fixed else params
                cursor = connection.execute(compiled.text, compiled.pick(values))
                rows.append(cursor.fetchall())
        except UNIT_ERRORS as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_INTERRUPT:
                text = f"{doing}: not read within {self._limit_s:g} s"
                raise ReadTooLongError(text) from error
            if code == sqlite3.SQLITE_READONLY:  # of the statement, not of the disk
                raise StoreError(f"{doing}: a reader cannot write") from error
            raise named_error(error, doing) from error
        else:
            return rows
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.append(connection)

    async def close(self) -> None:
        """Wait for the reads that run, then close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._close_connections()

    def _close_connections(self) -> None:
        while self._idle:
            self._idle.pop().close()
