"""Claiming: due deliveries of a line become ``sending``, durably, before they leave.

One statement picks and marks the rows of a few messages and commits with whatever else
waits. What must not be sent any more (expired, suppressed since) is passed over and
ended here.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from mailwright.clock import Clock, ClockTrust, from_micros, to_micros
from mailwright.events.types import EventType
from mailwright.ids import SourceId
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.settle import Claimed, claimed_of, doomed_unit
from mailwright.queue.statements import NEXT_DUE, QueueStatements
from mailwright.queue.tally import Tally
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Row, Step, Unit, UnitResult

#: Doomed deliveries that are ended in one go.
DOOMED_SLICE: Final = 100


class Claims:
    """Claims deliveries of lines for sources."""

    def __init__(
        self,
        store: UnitStore,
        statements: QueueStatements,
        clock: Clock,
        release: Callable[[Claimed], None],
        tally: Tally | None = None,
        trust: ClockTrust | None = None,
    ) -> None:
        """``release`` puts a claimed delivery back that nobody waits for any more.

        While ``trust`` suspects the clock, nothing expires.
        """
        self._store = store
        self._statements = statements
        self._clock = clock
        self._release = release
        self._tally = tally or Tally()
        self._trust = trust or ClockTrust()

    async def claim(
        self, line: Line, want: int, source: SourceId | None
    ) -> list[Claimed]:
        """Return up to ``want`` deliveries of ``line``, durably marked as sending.

        When there are fewer, the line's ``next_due_at`` is brought up to date.

        Raises:
            StoreError: nothing was claimed.
        """
        want = min(want, line.available)
        if want <= 0:
            return []
        rows = await self._run(line, want, source)
        if len(rows) < want and line.available > 0:
            await self._look(line)
        return rows

    async def _run(
        self, line: Line, want: int, source: SourceId | None
    ) -> list[Claimed]:
        now = self._clock.now()
        unit = Unit(
            (
                Step(
                    self._statements.claim(
                        line_id=line.id,
                        now=to_micros(now),
                        expired_by=self._expired_by(now),
                        want=want,
                        my_epoch=self._store.epoch,
                        my_source=source,
                    )
                ),
            )
        )
        ended: asyncio.Future[list[Claimed]]
        ended = asyncio.get_running_loop().create_future()
        line.claiming += want

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            claimed = [claimed_of(line, row) for row in (result[0] if result else ())]
            line.claimed(want, len(claimed))
            if ended.done():  # whoever asked was cancelled
                for each in claimed:
                    self._release(each)
            elif error is not None:
                ended.set_exception(error)
            else:
                ended.set_result(claimed)

        self._store.submit(unit, done)
        return await ended

    async def _look(self, line: Line) -> None:
        """Find out why a line gave less than it holds: not due yet, or doomed."""
        now = self._clock.now()
        seen = line.changes
        doomed, due = await self._store.read(
            self._statements.doomed(
                line_id=line.id,
                now=to_micros(now),
                expired_by=self._expired_by(now),
                want=DOOMED_SLICE,
            ),
            NEXT_DUE(line_id=line.id),
        )
        for row in doomed:
            self._end(claimed_of(line, row), bool(row[-1]), now)
        if doomed or line.changes != seen:
            return  # there may be more behind them: look again at the next claim
        line.next_due_at = _earliest(due) or NOTHING_DUE

    def _expired_by(self, now: datetime) -> int:
        """Return which expiry times are over, in the store's microseconds."""
        return 0 if self._trust.is_suspect else to_micros(now)

    def _end(self, claimed: Claimed, is_suppressed: bool, now: datetime) -> None:
        line = claimed.line

        def done(result: UnitResult | None, _error: StoreError | None) -> None:
            if result and result[0]:
                line.count -= 1
                event = EventType.SUPPRESSED if is_suppressed else EventType.EXPIRED
                self._tally.count(event, line.key.pool)

        unit = doomed_unit(
            claimed, is_suppressed=is_suppressed, node=self._store.node, now=now
        )
        self._store.submit(unit, done)


def _earliest(rows: Sequence[Row]) -> datetime | None:
    times = [micros for row in rows for micros in row if micros is not None]
    return from_micros(min(times)) if times else None
