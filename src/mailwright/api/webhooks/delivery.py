"""One step: the next batch of one endpoint, from the log to what its answer means.

First the end of the batch is made durable, then it is sent, then its arrival is made
durable. So a batch that may have arrived is sent again with the same events and the same
name, and nothing after it before it has arrived.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from mailwright.api.webhooks.batches import (
    MAX_EVENTS,
    body_of,
    cut,
    gap_event,
    name_of,
    test_event,
    written,
)
from mailwright.api.webhooks.book import Book, Entry
from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.api.webhooks.ports import EventLog, Poster
from mailwright.api.webhooks.schedule import Result, after, noted
from mailwright.store.statements import Urgency


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes out in one request.

    Attributes:
        ids: of its events, in their order.
        events: the same as JSON.
        end: the cursor after it.
        is_last: the log has nothing more for now.
    """

    ids: list[str]
    events: list[bytes]
    end: str
    is_last: bool


@dataclass(slots=True)
class Counts:
    """What was done since the start.

    Attributes:
        attempts: by how they ended: taken, refused (another status) or unanswered.
        events: in batches that were taken.
    """

    attempts: dict[str, int]
    events: int = 0


class Delivery:
    """Takes steps. ``draw`` is from [0, 1) and parts endpoints that failed together."""

    def __init__(
        self,
        book: Book,
        log: EventLog,
        poster: Poster,
        now: Callable[[], datetime],
        draw: Callable[[], float],
    ) -> None:
        self._book = book
        self._log = log
        self._poster = poster
        self._now = now
        self._draw = draw
        self.counts = Counts({"taken": 0, "refused": 0, "unanswered": 0})

    async def step(self, entry: Entry) -> bool:
        """Send the next batch, if there is one; return whether to go on at once.

        Raises:
            StoreError: the log could not be read, or nothing be written down.
            CursorError: its position is none.
        """
        course = entry.course
        batch = await self._next(entry.endpoint, entry.reads_after)
        if course != entry.course:
            return True
        if not batch.events:
            await self._pass(entry, course, batch)
            return not batch.is_last
        if not await self._offer(entry, course, batch):
            return True
        endpoint = entry.endpoint
        if not endpoint.state.is_live:  # paused meanwhile
            return False
        now = self._now()
        result = await self._poster.post(
            endpoint,
            name_of(endpoint.public, batch.ids),
            body_of(endpoint.public, batch.events, now),
            now,
        )
        self._count(result, len(batch.events))
        await self._settle(entry, course, result)
        if result.is_taken and batch.is_last:
            entry.caught_up_at = self._now()
        return result.is_taken and not batch.is_last

    async def test(self, entry: Entry, number: int) -> Result:
        """Send an event that only shows that the endpoint hears; changes nothing."""
        endpoint, now = entry.endpoint, self._now()
        ident, event = test_event(endpoint.public, number, now)
        body = body_of(endpoint.public, [event], now)
        name = name_of(endpoint.public, [ident])
        return await self._poster.post(endpoint, name, body, now)

    async def _next(self, endpoint: Endpoint, after: str) -> Batch:
        """Return the batch under way, or else a new one; it may have no events."""
        is_new = not endpoint.offered
        read = self._log.read(
            endpoint.tenant,
            endpoint.wanted,
            after=after if is_new else endpoint.position,
            limit=MAX_EVENTS,
            until=None if is_new else endpoint.offered,
        )
        portion = await read
        bodies = [written(record) for record, _ in portion.events]
        # One that was offered goes again as it was, however its events are written now.
        count = cut(map(len, bodies)) if is_new else len(bodies)
        is_whole = count == len(bodies)
        end = portion.cursor if is_whole else portion.events[count - 1][1]
        ids = [record.id for record, _ in portion.events[:count]]
        if endpoint.gap is not None:
            ident, event = gap_event(endpoint.public, endpoint.gap)
            ids, bodies = [ident, *ids], [event, *bodies]
            count += 1
        return Batch(
            ids,
            bodies[:count],
            end if is_new else endpoint.offered,
            is_last=is_new and is_whole and portion.is_end,
        )

    async def _pass(self, entry: Entry, course: int, batch: Batch) -> None:
        """Note that nothing up to the end of ``batch`` is for the endpoint."""
        if entry.endpoint.offered:  # what was in it is not kept any more
            await self._book.change(
                entry, lambda endpoint: endpoint.moved_to(batch.end), course=course
            )
            return
        entry.seen = batch.end
        if batch.is_last:
            entry.caught_up_at = self._now()

    async def _offer(self, entry: Entry, course: int, batch: Batch) -> bool:
        """Make the end of ``batch`` durable; false when it is not wanted any more."""
        return await self._book.change(
            entry,
            lambda endpoint: replace(endpoint, offered=batch.end),
            course=course,
            urgency=Urgency.BULK,
        )

    async def _settle(self, entry: Entry, course: int, result: Result) -> None:
        """Make durable what became of a batch."""
        now, draw = self._now(), self._draw()
        is_settled = await self._book.change(
            entry,
            lambda endpoint: after(endpoint, result, now=now, draw=draw),
            course=course,
            urgency=Urgency.BULK,
        )
        if is_settled:
            entry.seen = ""
        else:  # it was moved elsewhere; what can be seen of the attempt is told
            await self._book.change(
                entry, lambda endpoint: noted(endpoint, result, now=now)
            )

    def _count(self, result: Result, events: int) -> None:
        how = "taken" if result.is_taken else "refused"
        self.counts.attempts[how if result.status else "unanswered"] += 1
        if result.is_taken:
            self.counts.events += events
