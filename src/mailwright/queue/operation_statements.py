"""Statements of what people do to the queue.

All of them find their rows by line, by message or by id, and take only what waits: a
delivery that a session has in hand is its own.
"""

from typing import Final

from sqlalchemy import bindparam, func, literal_column, or_, select, update

from mailwright.queue.delivery import State
from mailwright.queue.statements import CLAIMED, NEVER
from mailwright.queue.tables import deliveries, lines, messages
from mailwright.store.statements import Query

#: Not of a submission that is not complete yet.
_IS_COMPLETE: Final = deliveries.c.due_at < literal_column(str(NEVER))
# The partial index is only used when the state stands in the text.
_WAITS: Final = (
    deliveries.c.state == literal_column(str(int(State.QUEUED))),
    _IS_COMPLETE,
)
_THE_DELIVERY: Final = deliveries.c.id == bindparam("delivery_id")
_OF_THE_LINE: Final = deliveries.c.line == bindparam("line_id")
_unsettled = select(
    *CLAIMED, deliveries.c.line, deliveries.c.state, deliveries.c.due_at
)

#: Waiting deliveries of a line that were accepted up to ``before``.
WAITING_OF_LINE: Final = Query(
    "waiting of line",
    select(*CLAIMED)
    .where(_OF_THE_LINE, *_WAITS, deliveries.c.accepted_at <= bindparam("before"))
    .limit(bindparam("slice")),
)
#: Waiting deliveries of a line, in the order in which they leave; the last columns:
#: line, state, due time.
NEXT_OF_LINE: Final = Query(
    "next of line",
    _unsettled.where(_OF_THE_LINE, *_WAITS)
    .order_by(deliveries.c.band, deliveries.c.due_at)
    .limit(bindparam("most")),
)
#: Deliveries of a message that are not final; the last columns: line, state, due time.
#: Of the tenant ``of_tenant``, 0 being anyone's: another's message ends the search before
#: its deliveries are looked at, as one that never was does.
UNSETTLED_OF_MESSAGE: Final = Query(
    "unsettled of message",
    _unsettled.select_from(
        messages.join(deliveries, deliveries.c.message == messages.c.id)
    ).where(
        messages.c.id == bindparam("message_id"),
        or_(messages.c.tenant == bindparam("of_tenant"), bindparam("of_tenant") == 0),
        _IS_COMPLETE,
    ),
)
#: The same of one delivery.
UNSETTLED_DELIVERY: Final = Query(
    "unsettled delivery",
    _unsettled.where(
        _THE_DELIVERY,
        or_(deliveries.c.tenant == bindparam("of_tenant"), bindparam("of_tenant") == 0),
        _IS_COMPLETE,
    ),
)
_later = (
    select(deliveries.c.id)
    .where(
        _OF_THE_LINE,
        *_WAITS,
        deliveries.c.due_at > bindparam("due"),
        func.coalesce(deliveries.c.not_before, 0) <= bindparam("due"),
    )
    .limit(bindparam("slice"))
)
#: Makes waiting deliveries of a line due, but for those that are to leave later.
BRING_FORWARD: Final = Query(
    "bring forward",
    update(deliveries)
    .where(deliveries.c.id.in_(_later.scalar_subquery()))
    .values(due_at=bindparam("due"))
    .returning(deliveries.c.id),
)
#: The same with one delivery, if it waits in that line still.
BRING_ONE_FORWARD: Final = Query(
    "bring one forward",
    update(deliveries)
    .where(_THE_DELIVERY, _OF_THE_LINE, *_WAITS)
    .values(due_at=bindparam("due"))
    .returning(deliveries.c.id),
)
#: Moves a delivery that waits in a line to another line; returns when it is due.
PART: Final = Query(
    "part",
    update(deliveries)
    .where(_THE_DELIVERY, _OF_THE_LINE, *_WAITS)
    .values(line=bindparam("to_line"))
    .returning(deliveries.c.due_at.label("next_due_at")),
)
MOVE_LINE: Final = Query(
    "move line",
    update(lines)
    .where(lines.c.id == bindparam("line_id"))
    .values(pool=bindparam("to_pool")),
)
