"""Settling: hands the units of ended attempts to the store and keeps the book right.

Never blocks and has no timer: the store commits whatever came together while the last
commit was under way.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from mailwright.attempt import Attempt, End, Outcome, Verdict
from mailwright.clock import Clock, ClockTrust, to_micros
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, MessageId, SourceId
from mailwright.queue.claimed import Claimed, empty_parcel
from mailwright.queue.content import Content
from mailwright.queue.delivery import MOVES, State
from mailwright.queue.in_flight import InFlight
from mailwright.queue.line import NOTHING_DUE, Line
from mailwright.queue.ports import Verdicts
from mailwright.queue.reporting import Enclosure, Reporter
from mailwright.queue.retry import next_attempt_at
from mailwright.queue.settle import Move, move_of, unit_of
from mailwright.queue.statements import LINE_DUE, MAKE_DUE_BEFORE
from mailwright.queue.tally import Tally
from mailwright.reply import Phase, Reply, local_reply
from mailwright.store.ports import StoreError, StoreFullError, UnitStore
from mailwright.store.statements import Step, Unit, UnitResult, Urgency

logger = logging.getLogger(__name__)

#: How long mail rests that cannot be signed.
UNSIGNABLE_REST: Final = timedelta(minutes=5)
#: How soon an outcome is written again that found no room on the disk.
FULL_RETRY_S: Final = 1.0
#: Deliveries that were put off and that :meth:`Settlement.recall` knows, at most.
PUT_OFF_MAX: Final = 10_000
_RECALL_SLICE: Final = 100
NOT_OFFERED: Final = local_reply(450, "4.3.0", "not offered", Phase.CONNECT)
_NO_VERDICT: Final = Verdict(Outcome.RETRY, "")


@dataclass(frozen=True, slots=True)
class SettlementSettings:
    """Times of settling.

    Attributes:
        ambiguous_retry: after which a delivery that may have arrived is tried again.
    """

    ambiguous_retry: timedelta


class _Settled(NamedTuple):
    """What is told of when its unit is stored."""

    line: Line
    move: Move
    provider: str
    source: SourceId | None
    report: Enclosure | None = None


class Settlement:
    """Ends attempts. Also counts what it could not write yet."""

    def __init__(
        self,
        *,
        store: UnitStore,
        clock: Clock,
        verdicts: Verdicts,
        draw: Callable[[], float],
        settings: SettlementSettings,
        on_due: Callable[[Line], None],
        in_flight: InFlight,
        tally: Tally | None = None,
        trust: ClockTrust | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        """``draw`` gives jitter in [0, 1); ``on_due`` is told of lines with mail again.

        While ``trust`` suspects the clock, nothing is due earlier because it expires.
        Without a ``reporter`` no DSN is made.
        """
        self._store = store
        self._clock = clock
        self._verdicts = verdicts
        self._draw = draw
        self._settings = settings
        self._on_due = on_due
        self._in_flight = in_flight
        self._tally = tally or Tally()
        self._trust = trust or ClockTrust()
        self._reporter = reporter
        #: When what was put off is due, the longest ago first.
        self._put_off: dict[DeliveryId, tuple[Line, datetime]] = {}
        #: Outcomes that found no room; nothing is claimed while there are any.
        self.unwritten = 0

    @property
    def is_short(self) -> bool:
        """Whether outcomes may find no room: nothing more is to be claimed."""
        return self.unwritten > 0 or self._store.is_short

    def apply(self, settings: SettlementSettings) -> None:
        """Take over new times; they act on what is settled from now on."""
        self._settings = settings

    def settle(
        self,
        claimed: Claimed,
        attempt: Attempt,
        *,
        source: SourceId | None,
        ladder: Sequence[float],
        provider: str = "",
    ) -> None:
        """Move ``claimed`` on as ``attempt`` says. Durable a commit later (≤ 50 ms)."""
        now = self._clock.now()
        verdict = _NO_VERDICT
        if attempt.end is End.REPLIED:
            verdict = self._verdicts.verdict_of(attempt.reply)
        move = move_of(
            self._unhurried(claimed),
            attempt,
            verdict,
            retry_at=next_attempt_at(
                claimed.attempt, ladder, now=now, jitter=self._draw()
            ),
            rest=UNSIGNABLE_REST,
            ambiguous_retry=self._settings.ambiguous_retry,
            now=now,
        )
        report = None
        if self._reporter is not None:
            report = self._reporter.of_attempt(claimed, attempt, move, now)
        unit = unit_of(
            claimed,
            attempt,
            move,
            source=source,
            provider=provider,
            node=self._store.node,
            epoch=self._store.epoch,
            now=now,
            report=report,
        )
        self._submit(unit, _Settled(claimed.line, move, provider, source, report))

    async def originals(
        self, claimed: Sequence[Claimed], reply: Reply
    ) -> Mapping[MessageId, Content]:
        """Return what to hand :meth:`settle` of those that ``reply`` is to end.

        Only of those on which a report may be due; the others need nothing.

        Raises:
            StoreError: it cannot be read.
        """
        reporter = self._reporter
        if reporter is None:
            return {}
        state = State.BOUNCED if reply.is_permanent else State.QUEUED
        return await reporter.originals(
            each for each in claimed if reporter.may_report(each, state)
        )

    def release(self, claimed: Claimed) -> None:
        """Put a claimed delivery back that was never offered."""
        attempt = Attempt(empty_parcel(claimed), End.NOT_OFFERED, NOT_OFFERED)
        self.settle(claimed, attempt, source=claimed.source, ladder=(0.0,))

    def put_off(self, claimed: Claimed, until: datetime) -> None:
        """Put a claimed delivery back that was never offered; it is due at ``until``.

        Unless :meth:`recall` makes it due before.
        """
        attempt = Attempt(empty_parcel(claimed), End.NOT_OFFERED, NOT_OFFERED)
        due_at = min(until, self._unhurried(claimed).expires_at)
        move = Move(State.QUEUED, due_at=due_at, counts=False)
        unit = unit_of(
            claimed,
            attempt,
            move,
            source=claimed.source,
            node=self._store.node,
            epoch=self._store.epoch,
            now=self._clock.now(),
        )
        self._submit(unit, _Settled(claimed.line, move, "", claimed.source))
        self._put_off[claimed.id] = claimed.line, due_at
        if len(self._put_off) > PUT_OFF_MAX:
            del self._put_off[next(iter(self._put_off))]

    async def recall(self) -> None:
        """Make due what was put off and waits still: what it waits for has changed.

        Raises:
            StoreError: some of it keeps its time.
        """
        now = self._clock.now()
        waiting = [
            (ident, line, due_at)
            for ident, (line, due_at) in self._put_off.items()
            if due_at > now
        ]
        self._put_off.clear()
        for start in range(0, len(waiting), _RECALL_SLICE):
            some = waiting[start : start + _RECALL_SLICE]
            due = to_micros(now)
            steps = (
                Step(
                    MAKE_DUE_BEFORE(
                        delivery_id=ident, due=due, before=to_micros(due_at)
                    ),
                    (LINE_DUE(line_id=line.id, due=due),),
                )
                for ident, line, due_at in some
            )
            results = await self._store.run(Unit(tuple(steps), Urgency.BULK))
            for (_, line, _), rows in zip(some, results, strict=True):
                if rows:
                    line.due_again(now)
                    self._on_due(line)

    def _unhurried(self, claimed: Claimed) -> Claimed:
        """Return ``claimed`` as if it did not expire, while nothing may."""
        if not self._trust.is_suspect:
            return claimed
        return replace(claimed, expires_at=NOTHING_DUE)

    def _submit(self, unit: Unit, settled: _Settled) -> None:
        def done(result: UnitResult | None, error: StoreError | None) -> None:
            if result is not None:
                self._moved(settled, is_ours=bool(result[0]))
            elif isinstance(error, StoreFullError):
                self._submit_later(unit, settled)
            else:
                # The row stays `sending`; the next start finds it ambiguous.
                logger.error("an outcome could not be stored: %s", error)
                if settled.report is not None:
                    settled.report.ended(is_stored=False)

        self._store.submit(unit, done)

    def _submit_later(self, unit: Unit, settled: _Settled) -> None:
        self.unwritten += 1

        def again() -> None:
            self.unwritten -= 1
            self._submit(unit, settled)

        asyncio.get_running_loop().call_later(FULL_RETRY_S, again)

    def _moved(self, settled: _Settled, *, is_ours: bool) -> None:
        line, move = settled.line, settled.move
        line.sending -= 1
        self._in_flight.settled()
        if settled.report is not None:
            settled.report.ended(is_stored=is_ours)
        if not is_ours or move.counts or move.due_at is None:
            self._tally.count(
                MOVES[State.SENDING, move.state]
                if is_ours
                else EventType.POSSIBLE_DUPLICATE,
                line.key.pool,
                settled.provider,
                settled.source,
                move.category,
            )
        if not is_ours:
            return
        if move.state is not State.QUEUED or move.due_at is None:
            line.count -= 1
            return
        line.due_again(move.due_at)
        self._on_due(line)
