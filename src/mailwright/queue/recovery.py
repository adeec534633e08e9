"""What a start does to the queue before anything is accepted or delivered.

Reads ``lines``, not ``deliveries``. Rows that a dead start left as ``sending`` may have
arrived: they go back to their lines, marked, due after ``ambiguous_retry`` from the same
source with the same octets. Submissions that were never acknowledged are discarded.
Only a clock that was ahead, and is not any more, makes a start look at every delivery:
what was put off by that clock would wait for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from mailwright.clock import Clock, from_micros, to_micros
from mailwright.events.log import About, write_event
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, DeliveryId, MessageId, Subject, TenantId
from mailwright.queue.book import Alike, LineBook
from mailwright.queue.statements import (
    DISCARD_CONTENT,
    DISCARD_DELIVERIES,
    DISCARD_MESSAGE,
    DUE_DATES,
    INCOMPLETE_MESSAGES,
    LINE_DUE,
    LINES_WITH_MAIL,
    MAKE_DUE,
    NEVER,
    RECOVER_ONE,
    SENDING_OF_DEAD_EPOCHS,
)
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Row, Step, Unit, Urgency, unit

_PAGE: Final = 10_000
_SLICE: Final = 100


async def discard_incomplete(store: UnitStore) -> int:
    """Take away submissions that a crash left unfinished; return how many."""
    discarded = 0
    while True:
        (rows,) = await store.read(INCOMPLETE_MESSAGES(slice=_SLICE))
        for message, content in rows:
            await store.run(
                unit(
                    DISCARD_DELIVERIES(message_id=message),
                    DISCARD_MESSAGE(message_id=message),
                    DISCARD_CONTENT(content_id=content),
                )
            )
        discarded += len(rows)
        if len(rows) < _SLICE:
            return discarded


async def recover_sending(
    store: UnitStore, clock: Clock, ambiguous_retry: timedelta
) -> int:
    """Put the ambiguous rows of dead starts back to their lines; return how many.

    Durable on return, in slices; each writes its ``deferred`` event.
    """
    recovered = 0
    while True:
        (rows,) = await store.read(
            SENDING_OF_DEAD_EPOCHS(my_epoch=store.epoch, slice=_SLICE)
        )
        if rows:
            await store.run(_recovery(store, clock, ambiguous_retry, rows))
        recovered += len(rows)
        if len(rows) < _SLICE:
            return recovered


def _recovery(
    store: UnitStore, clock: Clock, ambiguous_retry: timedelta, rows: list[Row]
) -> Unit:
    now = clock.now()
    steps = []
    for row in rows:
        delivery, line, message, tenant, subject, attempt, accepted_at = row[:7]
        expires_at, campaign = row[7:]
        # At the latest when it expires, so that the end is not late.
        due_at = min(now + ambiguous_retry, from_micros(expires_at))
        due = to_micros(due_at)
        about = About(
            TenantId(tenant),
            MessageId(message),
            DeliveryId(delivery),
            Subject(subject),
            from_micros(accepted_at).date(),
            None if campaign is None else CampaignId(campaign),
        )
        data = {
            "attempt": attempt,
            "text": "the node stopped while this attempt was under way",
            "origin": "local",
            "category": "network",
            "due_at": due_at.isoformat(timespec="milliseconds"),
            "possible_duplicate": True,
        }
        event = write_event(store.node, now, EventType.DEFERRED, about, data)
        guard = RECOVER_ONE(delivery_id=delivery, my_epoch=store.epoch, due=due)
        steps.append(Step(guard, (event, LINE_DUE(line_id=line, due=due))))
    return Unit(tuple(steps))


async def bring_back(store: UnitStore, now: datetime, ahead: timedelta) -> int:
    """Bring all that waits for a retry forward by ``ahead``; return how much it was.

    Call it when the last event lies so far in the future: the clock was ahead when these
    were put off. Which ones were put off before, nobody knows: they go a little early.
    What its sender or a limit keeps until later stays. Durable on return, in slices;
    reads all that is queued.
    """
    brought = after = 0
    first, less = to_micros(now), ahead // timedelta(microseconds=1)
    while True:
        (rows,) = await store.read(DUE_DATES(after=after, page=_PAGE))
        late = [
            (delivery, line, max(first, due_at - less, not_before or 0))
            for delivery, line, due_at, not_before in rows
            if first < due_at < NEVER and (not_before is None or not_before < due_at)
        ]
        for start in range(0, len(late), _SLICE):
            await store.run(_due_again(late[start : start + _SLICE]))
        brought += len(late)
        if len(rows) < _PAGE:
            return brought
        after = rows[-1][0]


def _due_again(late: Sequence[tuple[int, int, int]]) -> Unit:
    steps = (
        Step(
            MAKE_DUE(delivery_id=delivery, due=due), (LINE_DUE(line_id=line, due=due),)
        )
        for delivery, line, due in late
    )
    return Unit(tuple(steps), Urgency.BULK)


async def load_lines(store: UnitStore, book: LineBook) -> None:
    """Fill ``book`` with every line that holds mail, a page at a time."""
    after, alike = 0, Alike()
    while True:
        (rows,) = await store.read(LINES_WITH_MAIL(after=after, page=_PAGE))
        after = book.load(rows, alike)
        if len(rows) < _PAGE:
            return
