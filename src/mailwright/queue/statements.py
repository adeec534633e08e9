"""Every statement of the queue.

Written once for both engines. The suppression condition comes from a port, so these are
built by :func:`queue_statements` and held by whoever runs them.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.clock import to_micros
from mailwright.queue.delivery import State
from mailwright.queue.line import NOTHING_DUE
from mailwright.queue.ports import Suppressions
from mailwright.queue.tables import (
    contents,
    deliveries,
    finished_of,
    lines,
    messages,
)
from mailwright.store.statements import Query

BANDS = range(8)
#: Later than anything: deliveries of a submission that is not complete yet.
NEVER = 2**62

# Partial indexes are only used when the state stands in the text.
_QUEUED: ColumnElement[int] = literal_column(str(int(State.QUEUED)))
_SENDING: ColumnElement[int] = literal_column(str(int(State.SENDING)))
_ONE: ColumnElement[int] = literal_column("1")

INSERT_CONTENT = Query("insert content", insert(contents))
INSERT_MESSAGE = Query("insert message", insert(messages))
#: Whoever its recipient is.
INSERT_DELIVERY = Query("insert delivery", insert(deliveries))
COMPLETE_MESSAGE = Query(
    "complete message",
    update(messages)
    .where(messages.c.id == bindparam("message_id"))
    .values(is_complete=literal_column("1")),
)

_line_row = upsert(lines)
#: Adds ``count`` deliveries to a line and makes the line if it is not there.
ADD_TO_LINE = Query(
    "add to line",
    _line_row.on_conflict_do_update(
        index_elements=[lines.c.id],
        set_={
            "count": lines.c.count + _line_row.excluded.count,
            "next_due_at": case(
                (lines.c.count == literal_column("0"), _line_row.excluded.next_due_at),
                (
                    lines.c.next_due_at > _line_row.excluded.next_due_at,
                    _line_row.excluded.next_due_at,
                ),
                else_=lines.c.next_due_at,
            ),
        },
    ),
)
#: One delivery of a line became final.
TAKE_FROM_LINE = Query(
    "take from line",
    update(lines)
    .where(lines.c.id == bindparam("line_id"))
    .values(count=lines.c.count - 1),
)
#: A delivery of a line is due again at ``due``.
LINE_DUE = Query(
    "line due",
    update(lines)
    .where(lines.c.id == bindparam("line_id"), lines.c.next_due_at > bindparam("due"))
    .values(next_due_at=bindparam("due")),
)
LINES_WITH_MAIL = Query(
    "lines with mail",
    select(
        lines.c.id,
        lines.c.tenant,
        lines.c.campaign,
        lines.c.stream,
        lines.c.sending_domain,
        lines.c.credential,
        lines.c["class"],
        lines.c.domain,
        lines.c.pool,
        lines.c.count,
        lines.c.next_due_at,
        lines.c.hold,
        lines.c.timezone,
    )
    .where(lines.c.count > 0, lines.c.id > bindparam("after"))
    .order_by(lines.c.id)
    .limit(bindparam("page")),
)
DELETE_EMPTY_LINE = Query(
    "delete empty line",
    delete(lines).where(lines.c.id == bindparam("line_id"), lines.c.count == 0),
)

_mine = (
    deliveries.c.id == bindparam("delivery_id"),
    deliveries.c.epoch == bindparam("my_epoch"),
    deliveries.c.attempt == bindparam("my_attempt"),
    deliveries.c.state == _SENDING,
)
#: Takes a row out that waits in a line: suppressed, expired, cancelled.
FINISH_QUEUED = Query(
    "finish queued",
    delete(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery_id"),
        # It may have been parted from the line where it was seen.
        deliveries.c.line == bindparam("line_id"),
        deliveries.c.state == _QUEUED,
    )
    .returning(deliveries.c.id),
)
#: Settling: takes the row out, if it is still ours.
FINISH = Query("finish", delete(deliveries).where(*_mine).returning(deliveries.c.id))
#: Settling: back to the queue, if it is still ours.
REQUEUE = Query(
    "requeue",
    update(deliveries)
    .where(*_mine)
    .values(
        state=_QUEUED,
        epoch=None,
        due_at=bindparam("due"),
        attempt=deliveries.c.attempt - bindparam("uncounted"),
        ambiguous=deliveries.c.ambiguous + bindparam("may_have_arrived"),
        lost=deliveries.c.lost + bindparam("was_lost"),
        last_reply=func.coalesce(bindparam("said"), deliveries.c.last_reply),
        is_delay_reported=deliveries.c.is_delay_reported + bindparam("reported"),
        # Nothing binds a delivery that was never offered to a source.
        source=case(
            (deliveries.c.attempt > bindparam("uncounted"), deliveries.c.source),
            else_=null(),
        ),
    )
    .returning(deliveries.c.id),
)


def _next_due_of_band(band: int) -> ColumnElement[int]:
    return (
        select(deliveries.c.due_at)
        .where(
            deliveries.c.line == bindparam("line_id"),
            deliveries.c.state == _QUEUED,
            deliveries.c.band == literal_column(str(band)),
            # What a large submission is not complete with counts for nothing yet.
            deliveries.c.due_at < literal_column(str(NEVER)),
        )
        .order_by(deliveries.c.due_at)
        .limit(literal_column("1"))
        .scalar_subquery()
    )


#: When the next delivery of a line is due; one seek for each band.
NEXT_DUE = Query(
    "next due",
    select(*(_next_due_of_band(band).label(f"band_{band}") for band in BANDS)),
)

_waiting_bands = union_all(
    *(select(_next_due_of_band(band).label("due_at")) for band in BANDS)
).subquery("waiting")
#: Brings a line's next due time up to date, as of the turn that it runs in.
SET_NEXT_DUE = Query(
    "set next due",
    update(lines)
    .where(lines.c.id == bindparam("line_id"))
    .values(
        next_due_at=func.coalesce(
            select(func.min(_waiting_bands.c.due_at)).scalar_subquery(),
            literal_column(str(to_micros(NOTHING_DUE))),
        )
    ),
)

#: Claimed rows of starts that are over; they may have arrived.
SENDING_OF_DEAD_EPOCHS = Query(
    "sending of dead epochs",
    select(
        deliveries.c.id,
        deliveries.c.line,
        deliveries.c.message,
        deliveries.c.tenant,
        deliveries.c.subject,
        deliveries.c.attempt,
        deliveries.c.accepted_at,
        deliveries.c.expires_at,
        lines.c.campaign,
    )
    .select_from(deliveries.outerjoin(lines, lines.c.id == deliveries.c.line))
    .where(deliveries.c.state == _SENDING, deliveries.c.epoch < bindparam("my_epoch"))
    .limit(bindparam("slice")),
)
RECOVER_ONE = Query(
    "recover one",
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery_id"),
        deliveries.c.state == _SENDING,
        deliveries.c.epoch < bindparam("my_epoch"),
    )
    .values(
        state=_QUEUED,
        epoch=None,
        due_at=bindparam("due"),
        ambiguous=deliveries.c.ambiguous + 1,
    )
    .returning(deliveries.c.id),
)
#: A submission that a crash left unfinished: never acknowledged, so never sent.
INCOMPLETE_MESSAGES = Query(
    "incomplete messages",
    select(messages.c.id, messages.c.content)
    .where(messages.c.is_complete == literal_column("0"))
    .limit(bindparam("slice")),
)
DISCARD_DELIVERIES = Query(
    "discard deliveries",
    delete(deliveries).where(deliveries.c.message == bindparam("message_id")),
)
DISCARD_MESSAGE = Query(
    "discard message",
    delete(messages).where(messages.c.id == bindparam("message_id")),
)
DISCARD_CONTENT = Query(
    "discard content", delete(contents).where(contents.c.id == bindparam("content_id"))
)
#: Makes one delivery of a completed submission due.
MAKE_DUE = Query(
    "make due",
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"), deliveries.c.state == _QUEUED)
    .values(due_at=bindparam("due"))
    .returning(deliveries.c.id),
)
#: When each delivery that is queued is due, by id.
DUE_DATES = Query(
    "due dates",
    select(
        deliveries.c.id,
        deliveries.c.line,
        deliveries.c.due_at,
        deliveries.c.not_before,
    )
    .where(deliveries.c.state == _QUEUED, deliveries.c.id > bindparam("after"))
    .order_by(deliveries.c.id)
    .limit(bindparam("page")),
)
#: :data:`MAKE_DUE` of one that is due at ``before`` still.
MAKE_DUE_BEFORE = Query(
    "make due before",
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery_id"),
        deliveries.c.state == _QUEUED,
        deliveries.c.due_at == bindparam("before"),
    )
    .values(due_at=bindparam("due"))
    .returning(deliveries.c.id),
)


@lru_cache(maxsize=64)
def insert_finished(day: date) -> Query:
    """Return the insertion of a final delivery that was accepted on ``day``."""
    return Query("insert finished", insert(finished_of(day)))


@dataclass(frozen=True, slots=True)
class QueueStatements:
    """The statements that ask who is suppressed.

    Attributes:
        may_queue: gives a row unless the subject is suppressed; the guard of
            :data:`INSERT_DELIVERY`.
        claim: moves up to ``want`` due deliveries of a line to ``sending``, passing over
            doomed ones. What expires up to ``expired_by`` is over.
        doomed: reads due deliveries of a line that must not be sent any more: their time
            is over or their subject is suppressed.
    """

    may_queue: Query
    claim: Query
    doomed: Query


#: Columns of a claimed row, in the order of :class:`mailwright.queue.claimed.Claimed`.
CLAIMED = (
    deliveries.c.id,
    deliveries.c.attempt,
    deliveries.c.message,
    deliveries.c.recipient,
    deliveries.c.subject,
    deliveries.c.tenant,
    deliveries.c.stream,
    deliveries.c.accepted_at,
    deliveries.c.expires_at,
    deliveries.c.selector,
    deliveries.c.source,
    deliveries.c.ambiguous,
    deliveries.c.lost,
    deliveries.c.notify,
    deliveries.c.orcpt,
    deliveries.c.not_before,
    deliveries.c.last_reply,
    deliveries.c.is_delay_reported,
)


def queue_statements(suppressions: Suppressions) -> QueueStatements:
    """Build the statements that contain the suppression check."""
    suppressed_at_intake = suppressions.is_suppressed(
        bindparam("subject"),
        bindparam("tenant"),
        bindparam("stream"),
        bindparam("accepted_at"),
    )
    suppressed_now = suppressions.is_suppressed(
        deliveries.c.subject,
        deliveries.c.tenant,
        deliveries.c.stream,
        bindparam("now"),
    )
    in_time = deliveries.c.expires_at > bindparam("expired_by")
    due = deliveries.c.id.in_(_due_of_line().scalar_subquery())
    # Inserting in this very statement would cost three times as much: SQLite copies the
    # row through a temporary table, and each is a call of its own.
    may_queue = select(_ONE).where(~suppressed_at_intake)
    claim = (
        update(deliveries)
        .where(due, in_time, ~suppressed_now)
        .values(
            state=_SENDING,
            epoch=bindparam("my_epoch"),
            attempt=deliveries.c.attempt + 1,
            source=func.coalesce(deliveries.c.source, bindparam("my_source")),
        )
        .returning(*CLAIMED)
    )
    doomed = select(*CLAIMED, suppressed_now.label("is_suppressed")).where(
        due, ~in_time | suppressed_now
    )
    return QueueStatements(
        Query("may queue", may_queue),
        Query("claim", claim),
        Query("doomed", doomed),
    )


def _due_of_line() -> CompoundSelect[int]:
    """Return the selection of up to ``want`` due rows of a line, lower bands first."""
    bands = (
        select(deliveries.c.id)
        .where(
            deliveries.c.line == bindparam("line_id"),
            deliveries.c.state == _QUEUED,
            deliveries.c.band == literal_column(str(band)),
            deliveries.c.due_at <= bindparam("now"),
        )
        .order_by(deliveries.c.due_at)
        .limit(bindparam("want"))
        .subquery()
        for band in BANDS
    )
    return union_all(*(select(band.c.id) for band in bands)).limit(bindparam("want"))
