"""Claiming: due deliveries of a line become ``sending``, durably, before they leave.

One statement picks and marks the rows of a few messages and commits with whatever else
waits. What must not be sent any more (expired, suppressed since) is passed over and
ended here.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mailwright.clock import Clock, ClockTrust, from_micros, to_micros
from mailwright.ids import MessageId, SourceId
from mailwright.queue.claimed import Claimed, claimed_of
from mailwright.queue.content import Content
from mailwright.queue.delivery import MOVES, State
from mailwright.queue.in_flight import InFlight
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.reporting import Enclosure, Reporter
from mailwright.queue.settle import end_waiting
from mailwright.queue.statements import NEXT_DUE, SET_NEXT_DUE, QueueStatements
from mailwright.queue.tally import Tally
from mailwright.queue.terms import NoTerms, Terms
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Row, Step, Unit, UnitResult, Urgency, unit

logger = logging.getLogger(__name__)

#: A line's next due time is written when it is at least this far away.
WORTH_WRITING: Final = timedelta(seconds=20)
#: Later than any row expires: all of the line is over.
_EVERYTHING: Final = 2**63 - 1
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
        in_flight: InFlight,
        tally: Tally | None = None,
        trust: ClockTrust | None = None,
        reporter: Reporter | None = None,
        terms: Terms | None = None,
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
        self._reporter = reporter
        self._terms = terms or NoTerms()
        self._in_flight = in_flight

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
        claimed = await self._run(line, want, source)
        if len(claimed) < want and line.available > 0:
            try:
                await self._look(line)
            except StoreError as error:
                if not claimed:
                    raise
                logger.warning("cannot look what else is due: %s", error)
            except BaseException:
                for each in claimed:
                    self._release(each)
                raise
        return claimed

    async def _run(
        self, line: Line, want: int, source: SourceId | None
    ) -> list[Claimed]:
        now = self._clock.now()
        claim = Unit(
            (
                Step(
                    self._statements.claim(
                        line_id=line.id,
                        now=to_micros(now),
                        expired_by=self._expired_by(line, now),
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
        self._in_flight.began(want)

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            claimed = [
                self._claimed(line, row) for row in (result[0] if result else ())
            ]
            line.claimed(want, len(claimed))
            self._in_flight.unclaimed(want - len(claimed))
            if ended.done():  # whoever asked was cancelled
                for each in claimed:
                    self._release(each)
            elif error is not None:
                ended.set_exception(error)
            else:
                ended.set_result(claimed)

        self._store.submit(claim, done)
        return await ended

    async def _look(self, line: Line) -> None:
        """Find out why a line gave less than it holds: not due yet, or doomed."""
        now = self._clock.now()
        seen = line.changes
        doomed, due = await self._store.read(
            self._statements.doomed(
                line_id=line.id,
                now=to_micros(now),
                expired_by=self._expired_by(line, now),
                want=DOOMED_SLICE,
            ),
            NEXT_DUE(line_id=line.id),
        )
        await self._end_all(
            [
                (claimed_of(line, row), State.SUPPRESSED if row[-1] else State.EXPIRED)
                for row in doomed
            ],
            now,
        )
        if doomed or line.changes != seen:
            return  # there may be more behind them: look again at the next claim
        line.next_due_at = _earliest(due) or NOTHING_DUE
        if line.next_due_at - now > WORTH_WRITING:
            # So that a restart does not take it for due, and its host for wanted.
            late = unit(SET_NEXT_DUE(line_id=line.id), urgency=Urgency.BULK)
            self._store.submit(late, lambda _result, _error: None)

    def _expired_by(self, line: Line, now: datetime) -> int:
        """Return which expiry times are over, in the store's microseconds."""
        if self._trust.is_suspect:
            return 0
        end = self._terms.expires_at(line)
        return _EVERYTHING if end is not None and end <= now else to_micros(now)

    def _claimed(self, line: Line, row: Row) -> Claimed:
        """Return a claimed row; it expires when its campaign does, if not before."""
        claimed = claimed_of(line, row)
        end = self._terms.expires_at(line)
        if end is None or end >= claimed.expires_at:
            return claimed
        return replace(claimed, expires_at=end)

    async def _end_all(
        self, doomed: Sequence[tuple[Claimed, State]], now: datetime
    ) -> None:
        """End what must not be sent any more, and report it to who asked for that."""
        reporter = self._reporter
        originals: Mapping[MessageId, Content] = {}
        if reporter is not None:
            originals = await reporter.originals(
                claimed
                for claimed, state in doomed
                if reporter.may_report(claimed, state)
            )
        for claimed, state in doomed:
            report, original = None, originals.get(claimed.message)
            if reporter is not None and original is not None:
                report = reporter.of_end(claimed, original, state, now)
            self._end(claimed, state, report, now)

    def _end(
        self, claimed: Claimed, state: State, report: Enclosure | None, now: datetime
    ) -> None:
        line = claimed.line

        def done(result: UnitResult | None, _error: StoreError | None) -> None:
            is_ours = bool(result and result[0])
            if is_ours:
                line.count -= 1
                self._tally.count(MOVES[State.QUEUED, state], line.key.pool)
            if report is not None:
                report.ended(is_stored=is_ours)

        step = end_waiting(
            claimed, state, node=self._store.node, now=now, report=report
        )
        self._store.submit(Unit((step,)), done)


def _earliest(rows: Sequence[Row]) -> datetime | None:
    times = [micros for row in rows for micros in row if micros is not None]
    return from_micros(min(times)) if times else None
