"""The store thread: units in, turns of them committed, answers out.

Theory of operation. Units wait in two lines, interactive ones before bulk ones. A turn
takes what waits until ``turn_ms`` of statements have run, commits once, and then wakes
the event loop once with every answer of the turn. Handing a unit in takes no lock: the
loop appends to a line, the thread takes from it, and only a thread that sleeps is woken.
While a commit syncs, the next turn's units gather; a busy store rests for some
milliseconds more (:mod:`mailwright.store.pace`), so the busier the node, the larger its
turns.

A disk that fails a write or a sync ends the store: nothing is accepted after it,
because no one knows what such a disk still holds.

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
from time import perf_counter
from typing import Final

from mailwright.store.ballast import Ballast
from mailwright.store.pace import TurnPace
from mailwright.store.ports import Done, StoreError, StoreFailedError
from mailwright.store.statements import Unit, Urgency
from mailwright.store.submitted import Outcome, Submitted
from mailwright.store.turns import Turns

_logger = logging.getLogger(__name__)

#: After so many turns that left bulk units waiting, one goes first: a node that is
#: busy for days must still cancel and purge.
_BULK_PATIENCE_TURNS: Final = 16

#: SQLite has waited for the lock by itself; this only keeps a fault from spinning.
_BEGIN_AGAIN_S: Final = 0.1


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
    """Counts since the start, and what waits now.

    Attributes:
        turns_s: seconds that turns took in all, their commits included.
    """

    units: int
    turns: int
    failed_units: int
    waiting_interactive: int
    waiting_bulk: int
    turns_s: float = 0.0


class Writer:
    """Owns the writing connection and the thread that it lives on."""

    def __init__(
        self,
        opening: Callable[[], Opened],
        ballast: Ballast,
        *,
        turn_s: float,
        on_failed: Callable[[StoreFailedError], None],
    ) -> None:
        """Prepare; :meth:`start` does the work.

        Args:
            opening: opens the database; called on the store thread.
            ballast: what is given up when the disk is full.
            turn_s: how long a turn runs statements before it commits.
            on_failed: called on the loop, once, when the disk failed.
        """
        self._opening = opening
        self._ballast = ballast
        self._turn_s = turn_s
        self._on_failed = on_failed
        self._condition = threading.Condition(threading.Lock())
        self._interactive: deque[Submitted] = deque()
        self._bulk: deque[Submitted] = deque()
        self._bulk_patience = _BULK_PATIENCE_TURNS
        self._pace = TurnPace()
        self._is_closing = threading.Event()  # nobody rests any more
        self._is_asleep = False  # the thread waits for units, or is about to
        self._closed: StoreError | None = None  # why nothing more is accepted
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Future[None]
        self._connection: sqlite3.Connection
        self._turns: Turns
        self._units = self._turn_count = self._failed_units = 0
        self._turns_s = 0.0

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
        submitted = Submitted(unit, done)
        if self._closed is None:
            if unit.urgency is Urgency.INTERACTIVE:
                self._interactive.append(submitted)
            else:
                self._bulk.append(submitted)
            if self._is_asleep:
                with self._condition:
                    self._condition.notify()
            # Closed meanwhile: the thread may have looked through the line before.
            if self._closed is None or not submitted.begin():
                return submitted
        with self._condition:  # so that on_failed is called first
            refusal: list[Outcome] = [(done, None, self._closed)]
        self._loop.call_soon(self._answer, refusal)
        return submitted

    async def close(self) -> None:
        """Run what was handed in, end the thread, close its connection."""
        with self._condition:
            if self._closed is None:
                self._closed = StoreError("the store is closed")
            self._condition.notify()
        self._is_closing.set()
        await asyncio.shield(self._ended)

    def statistics(self) -> WriterStatistics:
        """Return a snapshot of the counts."""
        return WriterStatistics(
            units=self._units,
            turns=self._turn_count,
            failed_units=self._failed_units,
            waiting_interactive=len(self._interactive),
            waiting_bulk=len(self._bulk),
            turns_s=self._turns_s,
        )

    def _answer(self, outcomes: list[Outcome]) -> None:
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
        self._turns = Turns(
            found.connection,
            self._ballast,
            node=found.node,
            seq=found.seq,
            turn_s=self._turn_s,
        )
        self._call(self._settle, opened, None)
        try:
            while self._wait():
                self._turn()
        except BaseException as error:
            _logger.exception("the store thread died")
            died = StoreFailedError(f"the store thread died: {error!r}")
            self._fail(died)
            self._call(
                self._answer, [(one.done, None, died) for one in self._turns.taken]
            )
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
        if self._interactive or self._bulk:
            return True
        with self._condition:
            # Said before the lines are looked at again: who appends looks at it after.
            self._is_asleep = True
            while not self._interactive and not self._bulk and self._closed is None:
                self._condition.wait()
            self._is_asleep = False
            return bool(self._interactive or self._bulk)

    def _take(self) -> Submitted | None:
        """Begin the next unit, if one waits."""
        while True:
            if self._interactive and (self._bulk_patience or not self._bulk):
                submitted = self._interactive.popleft()
            elif self._bulk:
                submitted = self._bulk.popleft()
                self._bulk_patience = _BULK_PATIENCE_TURNS
            else:
                return None
            if submitted.begin():
                return submitted

    def _turn(self) -> None:
        """Run what waits, commit, answer; then checkpoint if it is time."""
        waiting = len(self._interactive) + len(self._bulk)
        rest_s = self._pace.rest_s(waiting, perf_counter())
        if rest_s:
            self._is_closing.wait(rest_s)
        began_at = perf_counter()
        refusal = self._turns.begin()
        if refusal is not None:
            self._not_begun(refusal)
            return
        outcomes = self._turns.run(self._take)
        ended_at = perf_counter()
        self._turns_s += ended_at - began_at
        self._pace.ended(len(outcomes), ended_at)
        if self._bulk:
            self._bulk_patience = max(0, self._bulk_patience - 1)
        self._count(outcomes)
        if outcomes:
            self._call(self._answer, outcomes)
        if self._turns.failed is None:
            self._turns.checkpoint()
        if self._turns.failed is not None:
            self._fail(self._turns.failed)

    def _not_begun(self, refusal: StoreError) -> None:
        if isinstance(refusal, StoreFailedError):
            self._fail(refusal)
        elif self._closed is not None:
            self._refuse_waiting(refusal)
        else:  # a foreign process holds the lock; who waits may still withdraw
            _logger.warning("no transaction can begin: %s", refusal)
            with self._condition:
                self._condition.wait(_BEGIN_AGAIN_S)

    def _count(self, outcomes: list[Outcome]) -> None:
        self._turn_count += 1
        self._units += len(outcomes)
        self._failed_units += sum(error is not None for _, _, error in outcomes)

    def _fail(self, error: StoreFailedError) -> None:
        """End the store for good; every unit that waits is told."""
        with self._condition:
            if isinstance(self._closed, StoreFailedError):
                return
            self._closed = error
            # Under the lock: whoever is refused from now on hears of it after the owner.
            self._call(self._on_failed, error)
        _logger.critical("the store failed, nothing more is accepted: %s", error)
        self._refuse_waiting(error)

    def _refuse_waiting(self, error: StoreError) -> None:
        refused: list[Outcome] = []
        while (submitted := self._take()) is not None:
            refused.append((submitted.done, None, error))
        self._call(self._answer, refused)
