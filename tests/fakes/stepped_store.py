"""A store that runs turns when told, and can die before any statement.

The turns, units and statements are the real ones, on a real file; only the thread is
missing. What was handed in waits for :meth:`SteppedStore.turn`; a fuse makes the
"process" die amid whatever it is doing then.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

from typing_extensions import override

from mailwright.clock import ManualClock
from mailwright.ids import COUNTER_BITS
from mailwright.store.ballast import Ballast
from mailwright.store.ports import Done, UnitStore
from mailwright.store.sqlite import DIALECT
from mailwright.store.start import record_start
from mailwright.store.statements import Bound, Row, Unit, UnitResult
from mailwright.store.submitted import Submitted
from mailwright.store.turns import Turns

#: Is told of a unit and its rows when it is committed, before its owner hears.
OnCommit = Callable[[Unit, UnitResult], None]


class Died(BaseException):
    """The process has ended here."""


class FusedConnection(sqlite3.Connection):
    """A connection whose cursors burn the fuse.

    Attributes:
        fuse: how many more statements run; ``None``: no end.
        is_atomic: whether transactions are; a control sets it to false.
    """

    fuse: int | None = None
    is_atomic = True

    @override
    def cursor(self, factory: object = None) -> sqlite3.Cursor:
        return super().cursor(FusedCursor)

    def burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Died


class FusedCursor(sqlite3.Cursor):
    """Runs one statement, or dies."""

    connection: FusedConnection

    @override
    def execute(self, sql: str, parameters: object = ()) -> "FusedCursor":
        self.connection.burn()
        if not self.connection.is_atomic and sql.startswith(("BEGIN", "COMMIT")):
            return self
        super().execute(sql, parameters)
        return self

    @override
    def executemany(self, sql: str, rows: Iterable[object], /) -> "FusedCursor":
        for row in rows:
            self.execute(sql, row)
        return self


class SteppedStore(UnitStore):
    """One life of a store on ``path``, which must hold the tables of every day.

    Attributes:
        on_commit: of units that are handed in from now on.
    """

    def __init__(
        self, path: Path, clock: ManualClock, *, is_atomic: bool = True
    ) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, factory=FusedConnection
        )
        # A process dies here, never the machine: nothing needs to be synced.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
        start = record_start(self._connection, "n1", now=clock.now())
        self._connection.is_atomic = is_atomic
        self.clock = clock
        self.epoch = start.epoch
        self.node = start.node
        self.on_commit: OnCommit = lambda _unit, _result: None
        numbers = count(start.first_id_counter)
        self.take_id = lambda: start.node << COUNTER_BITS | next(numbers)
        self._ballast = Ballast(path.parent, octets=4096)
        self._ballast.keep()
        self._turns = Turns(
            self._connection,
            self._ballast,
            node=start.node,
            seq=start.seq,
            turn_s=3600.0,
        )
        self._waiting: deque[tuple[Submitted, OnCommit]] = deque()
        self._is_dead = False

    @property
    @override
    def is_short(self) -> bool:
        return not self._ballast.is_kept

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def arm(self, fuse: int | None) -> None:
        """Die after ``fuse`` more statements; ``None``: live on."""
        self._connection.fuse = fuse

    def die(self) -> None:
        """End without a word: what is open is rolled back, what waits is forgotten."""
        self._is_dead = True
        self._connection.close()

    @override
    def submit(self, unit: Unit, done: Done) -> Submitted:
        submitted = Submitted(unit, done)
        if not self._is_dead:
            self._waiting.append((submitted, self.on_commit))
        return submitted

    @override
    async def run(self, unit: Unit) -> UnitResult:
        ended: asyncio.Future[UnitResult] = asyncio.get_running_loop().create_future()

        def done(result: UnitResult | None, error: Exception | None) -> None:
            if error is not None:
                ended.set_exception(error)
            elif result is not None:
                ended.set_result(result)

        self.submit(unit, done)
        return await ended

    @override
    async def read(self, *bounds: Bound) -> list[list[Row]]:
        return [self._read(bound) for bound in bounds]

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Row]:
        """Read for a test; burns no fuse."""
        plain = sqlite3.Connection.cursor(self._connection)
        return plain.execute(sql, values).fetchall()

    def turn(self) -> None:
        """Run all that waits in one transaction and tell whoever waits.

        Raises:
            Died: the fuse burned down; the commit may have been made or not.
        """
        if not self._waiting:
            return
        taken: list[tuple[Submitted, OnCommit]] = []

        def take() -> Submitted | None:
            while self._waiting:
                submitted, on_commit = self._waiting.popleft()
                if submitted.begin():
                    taken.append((submitted, on_commit))
                    return submitted
            return None

        refusal = self._turns.begin()
        assert refusal is None, refusal
        outcomes = self._turns.run(take)
        for (submitted, on_commit), (_, result, error) in zip(
            taken, outcomes, strict=True
        ):
            assert error is None, error
            on_commit(submitted.unit, result)
        self._connection.burn()  # committed, and nobody has heard of it
        for done, result, error in outcomes:
            done(result, error)

    def _read(self, bound: Bound) -> list[Row]:
        self._connection.burn()
        compiled = bound.query.compiled(DIALECT)
        params = {**compiled.fixed, **bound.params}
        return self.rows(compiled.text, compiled.pick(params))
