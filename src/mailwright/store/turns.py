"""Turns: units that share a transaction. Lives on the store thread.

When a unit fails, its turn is rolled back and run again with a savepoint around each
unit, so that only the guilty one gets the error and the others still share a commit.
When even that cannot be committed, each unit gets a transaction of its own. A disk that
fails a write or a sync ends all of it: nothing is done to the file after that.
"""

import logging
import sqlite3
from collections.abc import Callable
from time import perf_counter
from typing import Final

from mailwright.store.ballast import Ballast
from mailwright.store.checkpoints import CheckpointPace
from mailwright.store.execution import UNIT_ERRORS, UnitRunner
from mailwright.store.ports import StoreError, StoreFailedError, StoreFullError
from mailwright.store.sqlite import named_error
from mailwright.store.submitted import Outcome, Submitted

_logger = logging.getLogger(__name__)

_BEGIN: Final = "BEGIN IMMEDIATE"
_KEEP_SEQ: Final = "UPDATE nodes SET seq = ? WHERE id = ?"


class Turns:
    """Runs turns on the writing connection.

    Attributes:
        failed: why the disk cannot be trusted any more; nothing is run after it.
        taken: the units of the turn that is running.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        ballast: Ballast,
        *,
        node: int,
        seq: int,
        turn_s: float,
    ) -> None:
        """Work on ``connection``, which belongs to the calling thread.

        Args:
            connection: the writing connection.
            ballast: what is given up when the disk is full.
            node: this node's number.
            seq: the last event number that it gave.
            turn_s: how long a turn runs statements before it commits.
        """
        self._connection = connection
        self._ballast = ballast
        self._cursor = connection.cursor()
        self._runner = UnitRunner(self._cursor, seq)
        self._node = node
        self._turn_s = turn_s
        self._checkpoints = CheckpointPace()
        self._checkpoint_failed = False  # told once, until one succeeds
        self.failed: StoreFailedError | None = None
        self.taken: list[Submitted] = []

    def begin(self) -> StoreError | None:
        """Begin a transaction; return why it could not be begun."""
        try:
            self._cursor.execute(_BEGIN)
        except sqlite3.Error as error:
            return self._named(error, _BEGIN)
        return None

    def run(self, take: Callable[[], Submitted | None]) -> list[Outcome]:
        """Run what ``take`` gives until the turn's time is up, and commit.

        A transaction was begun. Afterwards none is open, and what the outcomes call
        done is durable.
        """
        seq = self._runner.seq
        taken = self.taken = []
        outcomes: list[Outcome] = []
        end = perf_counter() + self._turn_s
        try:
            while (submitted := take()) is not None:
                taken.append(submitted)
                outcomes.append(self._run(submitted))
                if perf_counter() >= end:
                    break
            self._commit(seq)
        except UNIT_ERRORS as error:
            named = self._give_up(error, seq)
            if isinstance(named, StoreFullError) and self._ballast.give_up():
                _logger.warning("the disk is full, nothing new is taken in: %s", named)
                outcomes = self._again(taken)
            else:
                outcomes = self._isolate(taken, named)
            if any(isinstance(refusal, StoreFullError) for _, _, refusal in outcomes):
                # What the log holds twice may be all the room there is to win back.
                self._checkpoints.hasten()
        self.taken = []
        return outcomes

    def checkpoint(self) -> None:
        """Take the log into the database, when it is time."""
        if not self._checkpoints.is_due(self._connection.total_changes):
            return
        try:
            row = self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            named = self._named(error, "checkpoint")
            if self.failed is None and not self._checkpoint_failed:
                # The log keeps what it holds, and the next one takes it.
                _logger.warning("the log is not taken into the database: %s", named)
            row = None
        self._checkpoint_failed = row is None
        self._checkpoints.made(None if row is None else row[1])

    def _run(self, submitted: Submitted) -> Outcome:
        """Run one unit, unless it would take the room that others need."""
        if submitted.unit.grows and not self._ballast.is_kept:
            return submitted.done, None, StoreFullError("the disk is full")
        return submitted.done, self._runner.run_beside(submitted.unit), None

    def _named(self, error: Exception, doing: str) -> StoreError:
        """Return what ``error`` means; a failed disk is remembered."""
        named = named_error(error, doing)
        if isinstance(named, StoreFailedError) and self.failed is None:
            self.failed = named
        return named

    def _commit(self, seq: int) -> None:
        self._runner.finish()
        self._runner.doing = "COMMIT"
        if self._runner.seq != seq:
            self._cursor.execute(_KEEP_SEQ, (self._runner.seq, self._node))
        self._cursor.execute("COMMIT")

    def _give_up(self, error: Exception, seq: int) -> StoreError:
        """Roll back to before ``seq`` moved; return what ``error`` means."""
        self._runner.rolled_back(seq)
        named = self._named(error, self._runner.doing)
        # SQLite ends some transactions by itself.
        if self.failed is None and self._connection.in_transaction:
            try:
                self._cursor.execute("ROLLBACK")
            except sqlite3.Error as again:
                self.failed = StoreFailedError(f"ROLLBACK: {again}")
        return named

    def _isolate(self, taken: list[Submitted], error: StoreError) -> list[Outcome]:
        """Run the units of a failed turn again, so that only the guilty one fails."""
        if len(taken) == 1 and self.failed is None:
            return [(taken[0].done, None, error)]
        return self._again(taken)

    def _again(self, taken: list[Submitted]) -> list[Outcome]:
        outcomes = self._with_savepoints(taken)
        if outcomes is None:
            outcomes = [self._alone(submitted) for submitted in taken]
        return outcomes

    def _with_savepoints(self, taken: list[Submitted]) -> list[Outcome] | None:
        """Run ``taken`` in one transaction; ``None`` when it could not be kept."""
        if self.failed is not None or self.begin() is not None:
            return None
        before = self._runner.seq
        outcomes: list[Outcome] = []
        try:
            for submitted in taken:
                self._cursor.execute("SAVEPOINT one")
                outcomes.append(self._in_savepoint(submitted))
                self._cursor.execute("RELEASE one")
            self._commit(before)
        except sqlite3.Error as error:  # a full disk may end the whole transaction
            self._give_up(error, before)
            return None
        return outcomes

    def _in_savepoint(self, submitted: Submitted) -> Outcome:
        seq = self._runner.seq
        try:
            outcome = self._run(submitted)
            self._runner.finish()
        except UNIT_ERRORS as error:
            named = self._named(error, self._runner.doing)
            if self.failed is not None:
                raise
            self._runner.rolled_back(seq)
            self._cursor.execute("ROLLBACK TO one")
            return submitted.done, None, named
        return outcome

    def _alone(self, submitted: Submitted) -> Outcome:
        """Run one unit in a transaction of its own."""
        if self.failed is not None:
            return submitted.done, None, self.failed
        seq = self._runner.seq
        self._runner.doing = _BEGIN
        try:
            self._cursor.execute(_BEGIN)
            outcome = self._run(submitted)
            self._commit(seq)
        except UNIT_ERRORS as error:
            return submitted.done, None, self._give_up(error, seq)
        return outcome
