"""The store: one database, opened by one process, closed in order."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Self

from sqlalchemy import bindparam, update
from typing_extensions import override

from mailwright.clock import Clock, to_micros
from mailwright.ids import COUNTER_BITS, IdBlock, NodeId
from mailwright.store.ballast import Ballast
from mailwright.store.check import note_made, refuse_lost
from mailwright.store.days import (
    ALL_DAYS,
    DayTable,
    day_unit,
    days_of,
    drop_unit,
)
from mailwright.store.lock import LOCK_NAME, NodeLock
from mailwright.store.log_kept import expect_log, refuse_lost_log, release_log
from mailwright.store.migrate import migrate
from mailwright.store.ports import Done, StoreError, StoreFailedError, UnitStore
from mailwright.store.readers import Readers
from mailwright.store.settings import StoreSettings
from mailwright.store.sqlite import named_error, open_writer
from mailwright.store.start import BLOCK, Start, record_start
from mailwright.store.statements import (
    Bound,
    Query,
    Row,
    Step,
    Unit,
    UnitResult,
    unit,
)
from mailwright.store.submitted import Submitted
from mailwright.store.tables import nodes
from mailwright.store.writer import Opened, Writer, WriterStatistics

_logger = logging.getLogger(__name__)

_RESERVE: Final = Query(
    "reserve ids",
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(ids_end=nodes.c.ids_end + BLOCK)
    .returning(nodes.c.ids_end),
)
_STOP: Final = Query(
    "stop",
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(stopped_at=bindparam("at")),
)


class Store(UnitStore):
    """The database of this node; made by :meth:`open`.

    A command that works while no node runs opens it in the same way, under the same
    lock; that raises the epoch, which harms nothing.

    Attributes:
        ids: gives this node's ids; use it on the event loop only.
        first_id: the lowest id of this start; what has a lower one is older.
        is_new: no room had written anything into the database when it was opened.
    """

    def __init__(
        self,
        start: Start,
        writer: Writer,
        readers: Readers,
        ballast: Ballast,
        day_tables: Sequence[DayTable],
        clock: Clock,
    ) -> None:
        """Take the opened parts; callers use :meth:`open`."""
        self._ballast = ballast
        self.epoch = start.epoch
        self.node = start.node
        self.is_new = start.is_new
        self.first_id = start.node << COUNTER_BITS | start.first_id_counter
        self.ids = IdBlock(
            NodeId(start.node), start.first_id_counter, BLOCK, self._reserve_ids
        )
        self._ids_end = start.first_id_counter + BLOCK
        self._writer = writer
        self._readers = readers
        self._day_tables = tuple(day_tables)
        self._clock = clock
        self._known_days: set[date] = set()
        self._ensured_days: set[date] = set()
        self._closing = AsyncExitStack()
        self._failure: asyncio.Future[StoreFailedError]

    @classmethod
    async def open(
        cls,
        settings: StoreSettings,
        *,
        clock: Clock,
        day_tables: Sequence[DayTable] = (),
    ) -> Self:
        """Lock, migrate, open and verify; record the start; make the days' tables.

        When it returns the epoch is durable and today and tomorrow have their tables.

        Raises:
            LockHeldError: another process has the database.
            DatabaseLostError, DatabaseDamagedError: it is not what it was.
            ForeignDatabaseError, SchemaTooNewError: it is not one of ours, or too new.
            PragmaRefusedError: a setting on which durability rests was not taken.
            StoreError: it cannot be read or written.
            OSError: a folder is missing or closed to us.
        """
        async with AsyncExitStack() as closing:
            lock = await asyncio.to_thread(NodeLock, _lock_paths(settings))
            closing.callback(lock.release)
            found: list[Start] = []

            def opening() -> Opened:
                opened, start = _open_database(settings, clock)
                found.append(start)
                return opened

            ballast = Ballast(settings.state_dir, settings.ballast_octets)
            await asyncio.to_thread(ballast.keep)
            failure: asyncio.Future[StoreFailedError]
            failure = asyncio.get_running_loop().create_future()
            writer = Writer(
                opening,
                ballast,
                turn_s=settings.turn_ms / 1000,
                on_failed=failure.set_result,
            )
            await writer.start()
            closing.push_async_callback(writer.close)
            # The last connection takes the log with it.
            closing.push_async_callback(asyncio.to_thread, release_log, settings.path)
            # Opened after the writer and closed before it: a reader must find the
            # write-ahead log in place, and must not be the one that removes it.
            readers = await asyncio.to_thread(
                Readers,
                settings.path,
                readers=settings.readers,
                limit_s=settings.read_limit_s,
            )
            closing.push_async_callback(readers.close)
            store = cls(found[0], writer, readers, ballast, day_tables, clock)
            store._failure = failure
            (rows,) = await store.read(ALL_DAYS())
            store._known_days = days_of(rows)
            today = clock.now().date()
            await store.ensure_day(today)
            await store.ensure_day(today + timedelta(days=1))
            store._closing = closing.pop_all()
            return store

    async def close(self) -> None:
        """Run what was handed in, record the stop, close everything, let go the lock.

        Units handed in afterwards fail at once.
        """
        now = to_micros(self._clock.now())
        with contextlib.suppress(StoreError):  # a failed disk has been told of
            await self.run(unit(_STOP(node=self.node, at=now)))
        await self._closing.aclose()

    @override
    def submit(self, unit: Unit, done: Done) -> Submitted:
        return self._writer.submit(unit, done)

    @override
    async def run(self, unit: Unit) -> UnitResult:
        ended: asyncio.Future[UnitResult] = asyncio.get_running_loop().create_future()

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            if ended.done():  # the caller was cancelled
                return
            if error is not None:
                ended.set_exception(error)
            elif result is not None:
                ended.set_result(result)

        submitted = self._writer.submit(unit, done)
        try:
            return await ended
        except asyncio.CancelledError:
            submitted.withdraw()
            raise

    @override
    async def read(self, *bounds: Bound) -> list[list[Row]]:
        return await self._readers.read(bounds)

    async def ensure_day(self, day: date) -> None:
        """Make the tables of ``day`` unless they exist; cheap when called again.

        Raises:
            StoreError: they could not be made.
        """
        if day in self._ensured_days:
            return
        await self.run(day_unit(day, self._day_tables, now=self._clock.now()))
        self._ensured_days.add(day)
        self._known_days.add(day)

    async def drop_day(self, day: date) -> None:
        """Drop the tables of ``day`` with all that is in them.

        Raises:
            StoreError: they could not be dropped.
        """
        # Out of sight first: a reader that asks for it meanwhile finds no such day.
        self._known_days.discard(day)
        self._ensured_days.discard(day)
        await self.run(drop_unit(day, self._day_tables))

    def days(self) -> list[date]:
        """Return the days that have tables, oldest first."""
        return sorted(self._known_days)

    @property
    @override
    def is_short(self) -> bool:
        return not self._ballast.is_kept

    async def regain(self) -> bool:
        """Take mail in again if there is room for it; return whether there is."""
        return await asyncio.to_thread(self._ballast.keep)

    async def wait_failed(self) -> StoreFailedError:
        """Return when the disk failed: the process must exit, and recover at its start.

        Whether the units of the last turn are stored is unknown until then.
        """
        return await asyncio.shield(self._failure)

    def statistics(self) -> WriterStatistics:
        """Return what was written since the start, and what waits."""
        return self._writer.statistics()

    def _reserve_ids(self) -> None:
        self._writer.submit(
            Unit((Step(guard=_RESERVE(node=self.node)),)), self._extend_ids
        )

    def _extend_ids(self, result: UnitResult | None, error: StoreError | None) -> None:
        if result is None:
            _logger.error(
                "no ids could be reserved, the next one asks again: %s", error
            )
        else:
            self._ids_end = result[0][0][0]
        self.ids.extend(self._ids_end)


def _lock_paths(settings: StoreSettings) -> list[Path]:
    """Return the node's lock, and one that goes with the file wherever it lies."""
    return [
        settings.state_dir / LOCK_NAME,
        settings.path.with_name(f"{settings.path.name}.lock"),
    ]


def _open_database(settings: StoreSettings, clock: Clock) -> tuple[Opened, Start]:
    """Migrate, connect, record the start; runs on the store thread."""
    refuse_lost(settings.path)
    refuse_lost_log(settings.path)
    try:
        migrate(settings.path)
        connection = open_writer(settings.path)
        try:
            start = record_start(connection, settings.node, now=clock.now())
            note_made(settings.path)
            expect_log(settings.path)
        except BaseException:
            release_log(settings.path)
            connection.close()
            raise
    except sqlite3.Error as error:
        raise named_error(error, f"cannot open {settings.path}") from error
    return Opened(connection, start.node, start.seq), start
