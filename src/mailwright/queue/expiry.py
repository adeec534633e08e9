"""Expiry: what waits for longer than it may ends, wherever it waits.

A claim ends what it meets. What nobody claims (a hold stops its line, its host is dead, a
limit lets nothing through) is found here, by the time at which it expires: once in a
while, in slices that yield to everything else. While the clock is suspect nothing is.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, literal_column, or_, select

from mailwright.clock import Clock, ClockTrust, to_micros
from mailwright.events.types import EventType
from mailwright.ids import LineId, MessageId
from mailwright.queue.book import LineBook
from mailwright.queue.choosing import SWEEP_SLICE, slices
from mailwright.queue.claimed import Claimed, claimed_of
from mailwright.queue.content import Content
from mailwright.queue.delivery import State
from mailwright.queue.line import Line
from mailwright.queue.reporting import Reporter
from mailwright.queue.settle import end_waiting
from mailwright.queue.statements import CLAIMED, NEVER
from mailwright.queue.sweep import waiting_of
from mailwright.queue.tables import NEVER_EXPIRES, deliveries
from mailwright.queue.tally import Tally
from mailwright.queue.terms import NoTerms, Terms
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Query, Unit, Urgency

logger = logging.getLogger(__name__)

#: How late an end may be.
LOOK_S: Final = 30.0
_EXPIRES_AT: Final = 8  # among the columns of a claimed row
#: Deliveries that are ended in one go; about 3 ms of statements.
_SLICE: Final = 50

#: Waiting deliveries that expire up to ``expired_by``, by that time and id, after
#: (``after_at``, ``after_id``); the last column: line.
_EXPIRED: Final = Query(
    "expired",
    select(*CLAIMED, deliveries.c.line)
    .where(
        # The partial index is only used when the state stands in the text.
        deliveries.c.state == literal_column(str(int(State.QUEUED))),
        # Not of a submission that is not complete yet.
        deliveries.c.due_at < literal_column(str(NEVER)),
        # As the partial index says it: what expires with its campaign is not in it.
        deliveries.c.expires_at < literal_column(str(NEVER_EXPIRES)),
        deliveries.c.expires_at <= bindparam("expired_by"),
        deliveries.c.expires_at >= bindparam("after_at"),
        or_(
            deliveries.c.expires_at > bindparam("after_at"),
            deliveries.c.id > bindparam("after_id"),
        ),
    )
    .order_by(deliveries.c.expires_at, deliveries.c.id)
    .limit(bindparam("slice")),
)


class Expiry:
    """Ends deliveries whose time is over while they wait."""

    def __init__(
        self,
        *,
        store: UnitStore,
        book: LineBook,
        clock: Clock,
        trust: ClockTrust,
        tally: Tally,
        reporter: Reporter,
        look_s: float = LOOK_S,
        terms: Terms | None = None,
    ) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._trust = trust
        self._tally = tally
        self._reporter = reporter
        self._look_s = look_s
        self._terms = terms or NoTerms()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look once in a while, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.sweep()
            except StoreError as error:
                logger.warning("what expired waits for the store: %s", error)
            try:
                async with asyncio.timeout(self._look_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def wake(self) -> None:
        """Look now: a campaign may expire earlier than it did."""
        self._wake.set()

    async def sweep(self) -> int:
        """End everything whose time is over; return how many deliveries that were.

        Raises:
            StoreError: some of it waits still.
        """
        ended, after = 0, (0, 0)
        while not self._trust.is_suspect:
            (rows,) = await self._store.read(
                _EXPIRED(
                    expired_by=to_micros(self._clock.now()),
                    after_at=after[0],
                    after_id=after[1],
                    slice=_SLICE,
                )
            )
            found = []
            for row in rows:
                line = self._book.get(LineId(row[-1]))
                if line is not None:
                    found.append(claimed_of(line, row[:-1]))
            ended += await self._end(found)
            if len(rows) < _SLICE:
                break
            # What could not be ended is under way or being accepted: passed over.
            after = rows[-1][_EXPIRES_AT], rows[-1][0]
        return ended + await self._sweep_campaigns()

    async def _sweep_campaigns(self) -> int:
        """End what waits of campaigns whose time is over, whatever its rows say."""
        expired = self._terms.expired(self._clock.now())
        if not expired or self._trust.is_suspect:
            return 0
        lines: list[Line] = []
        for some in slices(list(self._book), SWEEP_SLICE):
            lines += [line for line in some if line.key.campaign in expired]
            await asyncio.sleep(0)
        ended = 0
        async for waiting in waiting_of(self._store, lines, NEVER, _SLICE):
            ended += await self._end(waiting)
        return ended

    async def _end(self, expired: Sequence[Claimed]) -> int:
        """End deliveries, each with its event and report; return how many waited still."""
        if not expired:
            return 0
        originals = await self._originals(expired)
        now = self._clock.now()
        reports = [
            None
            if (original := originals.get(each.message)) is None
            else self._reporter.of_end(each, original, State.EXPIRED, now)
            for each in expired
        ]
        steps = tuple(
            end_waiting(
                each, State.EXPIRED, node=self._store.node, now=now, report=report
            )
            for each, report in zip(expired, reports, strict=True)
        )
        results: Sequence[Sequence[object]] = [()] * len(steps)
        try:
            results = await self._store.run(Unit(steps, Urgency.BULK))
        finally:
            for each, report, rows in zip(expired, reports, results, strict=True):
                if rows:
                    each.line.count -= 1
                    self._tally.count(EventType.EXPIRED, each.line.key.pool)
                if report is not None:
                    report.ended(is_stored=bool(rows))
        return sum(bool(rows) for rows in results)

    async def _originals(
        self, expired: Sequence[Claimed]
    ) -> Mapping[MessageId, Content]:
        return await self._reporter.originals(
            each for each in expired if self._reporter.may_report(each, State.EXPIRED)
        )
