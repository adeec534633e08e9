"""The store thread: units in, turns of them committed, answers out.

Theory of operation. Units wait in two lines, interactive ones before bulk ones. A turn
takes what waits until ``turn_ms`` of statements have run, commits once, and then wakes
the event loop once with every answer of the turn. There is no timer: while a commit
syncs, the next turn's units gather, so the busier the node, the larger its turns.

When a unit fails, its turn is rolled back and run again with a savepoint around each
unit, so that only the failing one gets the error. When even that cannot be committed,
each unit gets a transaction of its own. A disk that fails a write or a sync ends the
store: nothing is accepted after it, because no one knows what such a disk still holds.

Checkpoints are made here, after the answers went out, so that no commit waits for one
and none of their errors is lost.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Final, TypeAlias

from mailwright.store.checkpoints import CheckpointPace
from mailwright.store.execution import UNIT_ERRORS, UnitRunner
from mailwright.store.ports import Done, StoreError, StoreFailedError
from mailwright.store.sqlite import named_error
from mailwright.store.statements import Unit, UnitResult, Urgency

_logger = logging.getLogger(__name__)

#: After so many turns that left bulk units waiting, one goes first: a node that is
#: busy for days must still cancel and purge.
_BULK_PATIENCE_TURNS: Final = 16

#: SQLite has waited for the lock by itself; this only keeps a fault from spinning.
_BEGIN_AGAIN_S: Final = 0.1

_BEGIN: Final = "BEGIN IMMEDIATE"
_KEEP_SEQ: Final = "UPDATE nodes SET seq = ? WHERE id = ?"


class _Stage(Enum):
    """Where a submitted unit is."""

    WAITING = 0  # may be withdrawn
    BEGUN = 1  # will be answered
    WITHDRAWN = 2  # will not be run or answered


class Submitted:
    """A unit that was handed in (:class:`mailwright.store.ports.Pending`)."""

    __slots__ = ("_lock", "done", "stage", "unit")

    def __init__(self, unit: Unit, done: Done, lock: threading.Condition) -> None:
        self.unit = unit
        self.done = done
        self.stage = _Stage.WAITING
        self._lock = lock

    def withdraw(self) -> bool:
        """Take the unit back; false when it has begun (then its answer will come)."""
        with self._lock:
            if self.stage is _Stage.WAITING:
                self.stage = _Stage.WITHDRAWN
            return self.stage is _Stage.WITHDRAWN


@dataclass(frozen=True, slots=True)
class Opened:
    """What the store thread found and wrote when it opened the database.

    Attributes:
        connection: the writing connection, made on the store thread.
        node: this node's number.
        seq: the last event number that it gave.
    """

    connection: sqlite3.Connection
    node: int
    seq: int


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """Counts since the start, and what waits now."""

    units: int
    turns: int
    failed_units: int
    waiting_interactive: int
    waiting_bulk: int


_Outcome: TypeAlias = tuple[Done, UnitResult | None, StoreError | None]


class Writer:
    """Owns the writing connection and the thread that it lives on."""

    def __init__(
        self,
        opening: Callable[[], Opened],
        *,
        turn_s: float,
        on_failed: Callable[[StoreFailedError], None],
    ) -> None:
        """Prepare; :meth:`start` does the work.

        Args:
            opening: opens the database; called on the store thread.
            turn_s: how long a turn runs statements before it commits.
            on_failed: called on the loop, once, when the disk failed.
        """
        self._opening = opening
        self._turn_s = turn_s
        self._on_failed = on_failed
        self._condition = threading.Condition(threading.Lock())
        self._interactive: deque[Submitted] = deque()
        self._bulk: deque[Submitted] = deque()
        self._bulk_patience = _BULK_PATIENCE_TURNS
        self._closed: StoreError | None = None  # why nothing more is accepted
        self._failed: StoreFailedError | None = None
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Future[None]
        self._connection: sqlite3.Connection
        self._cursor: sqlite3.Cursor
        self._runner: UnitRunner
        self._node = 0
        self._taken: list[Submitted] = []  # by this turn, not answered yet
        self._units = self._turns = self._failed_units = 0
        self._checkpoints = CheckpointPace()

    # -- on the event loop -----------------------------------------------------------

    async def start(self) -> None:
        """Start the thread and return when the database is open.

        Raises:
            Exception: whatever ``opening`` raised; the thread has ended then.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = self._loop.create_future()
        threading.Thread(
            # A daemon: a node that dies of an exception must not wait for its store.
            target=self._main,
            args=(opened,),
            name="store",
            daemon=True,
        ).start()
        try:
            await asyncio.shield(opened)
        except asyncio.CancelledError:
            await self.close()
            raise

    def submit(self, unit: Unit, done: Done) -> Submitted:
        """Queue ``unit``; see :class:`mailwright.store.ports.UnitStore`."""
        submitted = Submitted(unit, done, self._condition)
        with self._condition:
            if self._closed is None:
                if unit.urgency is Urgency.INTERACTIVE:
                    self._interactive.append(submitted)
                else:
                    self._bulk.append(submitted)
                self._condition.notify()
                return submitted
            submitted.stage = _Stage.BEGUN
        refusal: list[_Outcome] = [(done, None, self._closed)]
        self._loop.call_soon(self._answer, refusal)
        return submitted

    async def close(self) -> None:
        """Run what was handed in, end the thread, close its connection."""
        with self._condition:
            if self._closed is None:
                self._closed = StoreError("the store is closed")
            self._condition.notify()
        await asyncio.shield(self._ended)

    def statistics(self) -> WriterStatistics:
        """Return a snapshot of the counts."""
        return WriterStatistics(
            units=self._units,
            turns=self._turns,
            failed_units=self._failed_units,
            waiting_interactive=len(self._interactive),
            waiting_bulk=len(self._bulk),
        )

    def _answer(self, outcomes: list[_Outcome]) -> None:
        for done, result, error in outcomes:
            try:
                done(result, error)
            except Exception:  # the owners of the other units must still hear
                _logger.exception("a unit's owner failed on its answer")

    # -- on the store thread ---------------------------------------------------------

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            found = self._opening()
        except BaseException as error:  # noqa: BLE001 it is raised in start()
            self._call(self._settle, opened, error)
            self._call(self._settle, self._ended, None)
            return
        self._connection = found.connection
        self._cursor = found.connection.cursor()
        self._runner = UnitRunner(self._cursor, found.seq)
        self._node = found.node
        self._call(self._settle, opened, None)
        try:
            while self._wait():
                self._turn()
        except BaseException as error:
            _logger.exception("the store thread died")
            died = StoreFailedError(f"the store thread died: {error!r}")
            self._fail(died)
            self._call(self._answer, [(one.done, None, died) for one in self._taken])
        finally:
            self._connection.close()
            self._call(self._settle, self._ended, None)

    def _settle(
        self, future: asyncio.Future[None], error: BaseException | None
    ) -> None:
        if future.done():  # its owner was cancelled
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is gone, and with it all who wait for answers
            _logger.warning("the event loop closed before its store")

    def _wait(self) -> bool:
        """Wait for units; false when there are none and there will be none."""
        with self._condition:
            while not self._interactive and not self._bulk:
                if self._closed is not None:
                    return False
                self._condition.wait()
            return True

    def _take(self) -> Submitted | None:
        """Begin the next unit, if one waits."""
        with self._condition:
            while True:
                if self._interactive and (self._bulk_patience or not self._bulk):
                    submitted = self._interactive.popleft()
                elif self._bulk:
                    submitted = self._bulk.popleft()
                    self._bulk_patience = _BULK_PATIENCE_TURNS
                else:
                    return None
                if submitted.stage is _Stage.WAITING:
                    submitted.stage = _Stage.BEGUN
                    return submitted

    def _turn(self) -> None:
        """Run what waits, commit, answer; then checkpoint if it is time."""
        if not self._begin():
            return
        seq = self._runner.seq
        taken = self._taken = []
        outcomes: list[_Outcome] = []
        end = perf_counter() + self._turn_s
        try:
            while (submitted := self._take()) is not None:
                taken.append(submitted)
                result = self._runner.run(submitted.unit)
                outcomes.append((submitted.done, result, None))
                if perf_counter() >= end:
                    break
            self._commit(seq)
        except UNIT_ERRORS as error:
            named = named_error(error, self._runner.doing)
            self._give_up(seq, named)
            outcomes = self._isolate(taken, named)
        if self._bulk:
            self._bulk_patience = max(0, self._bulk_patience - 1)
        self._taken = []
        self._count(outcomes)
        if outcomes:
            self._call(self._answer, outcomes)
        self._checkpoint()

    def _begin(self) -> bool:
        try:
            self._cursor.execute(_BEGIN)
        except sqlite3.Error as error:
            named = named_error(error, _BEGIN)
            if isinstance(named, StoreFailedError):
                self._fail(named)
            elif self._closed is not None:
                self._refuse_waiting(named)
            else:  # a foreign process holds the lock; who waits may still withdraw
                _logger.warning("no transaction can begin: %s", named)
                with self._condition:
                    self._condition.wait(_BEGIN_AGAIN_S)
            return False
        return True

    def _commit(self, seq: int) -> None:
        self._runner.doing = "COMMIT"
        if self._runner.seq != seq:
            self._cursor.execute(_KEEP_SEQ, (self._runner.seq, self._node))
        self._cursor.execute("COMMIT")

    def _give_up(self, seq: int, error: StoreError) -> None:
        """Roll back to before ``seq`` moved; a failed disk is not touched again."""
        self._runner.seq = seq
        if isinstance(error, StoreFailedError):
            self._fail(error)
        elif self._connection.in_transaction:  # SQLite ends some by itself
            try:
                self._cursor.execute("ROLLBACK")
            except sqlite3.Error as again:
                self._fail(StoreFailedError(f"ROLLBACK: {again}"))

    def _isolate(self, taken: list[Submitted], error: StoreError) -> list[_Outcome]:
        """Run the units of a failed turn again, so that only the guilty one fails."""
        if len(taken) == 1 and self._failed is None:
            return [(taken[0].done, None, error)]
        outcomes = self._with_savepoints(taken)
        if outcomes is None:
            outcomes = [self._alone(submitted) for submitted in taken]
        return outcomes

    def _with_savepoints(self, taken: list[Submitted]) -> list[_Outcome] | None:
        """Run ``taken`` in one transaction; ``None`` when it could not be kept."""
        if self._failed is not None or not self._begin():
            return None
        before = self._runner.seq
        outcomes: list[_Outcome] = []
        try:
            for submitted in taken:
                self._cursor.execute("SAVEPOINT one")
                outcomes.append(self._in_savepoint(submitted))
                self._cursor.execute("RELEASE one")
            self._commit(before)
        except sqlite3.Error as error:  # a full disk may end the whole transaction
            self._give_up(before, named_error(error, self._runner.doing))
            return None
        return outcomes

    def _in_savepoint(self, submitted: Submitted) -> _Outcome:
        seq = self._runner.seq
        try:
            return submitted.done, self._runner.run(submitted.unit), None
        except UNIT_ERRORS as error:
            named = named_error(error, self._runner.doing)
            if isinstance(named, StoreFailedError):
                raise
            self._runner.seq = seq
            self._cursor.execute("ROLLBACK TO one")
            return submitted.done, None, named

    def _alone(self, submitted: Submitted) -> _Outcome:
        """Run one unit in a transaction of its own."""
        if self._failed is not None:
            return submitted.done, None, self._failed
        seq = self._runner.seq
        self._runner.doing = _BEGIN
        try:
            self._cursor.execute(_BEGIN)
            result = self._runner.run(submitted.unit)
            self._commit(seq)
        except UNIT_ERRORS as error:
            named = named_error(error, self._runner.doing)
            self._give_up(seq, named)
            return submitted.done, None, named
        return submitted.done, result, None

    def _checkpoint(self) -> None:
        if not self._checkpoints.is_due(self._connection.total_changes):
            return
        try:
            row = self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            named = named_error(error, "checkpoint")
            if isinstance(named, StoreFailedError):
                self._fail(named)
            else:  # no room for the file to grow: the log keeps what it holds
                _logger.warning("%s", named)
            row = None
        self._checkpoints.made(None if row is None else row[1])

    def _count(self, outcomes: list[_Outcome]) -> None:
        self._turns += 1
        self._units += len(outcomes)
        self._failed_units += sum(error is not None for _, _, error in outcomes)

    def _fail(self, error: StoreFailedError) -> None:
        """End the store for good; every unit that waits is told."""
        with self._condition:
            if self._failed is not None:
                return
            self._closed = self._failed = error
        _logger.critical("the disk failed, nothing more is accepted: %s", error)
        self._call(self._on_failed, error)
        self._refuse_waiting(error)

    def _refuse_waiting(self, error: StoreError) -> None:
        with self._condition:
            waiting = [
                submitted
                for submitted in (*self._interactive, *self._bulk)
                if submitted.stage is _Stage.WAITING
            ]
            for submitted in waiting:
                submitted.stage = _Stage.BEGUN
            self._interactive.clear()
            self._bulk.clear()
        self._call(self._answer, [(one.done, None, error) for one in waiting])
