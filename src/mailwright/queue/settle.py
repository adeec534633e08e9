"""From an attempt's end to a unit of work: how a delivery moves on. Values in, values out.

Settling is conditional on (id, epoch, attempt): when no row matches, another owner has
it, the state stays and only a ``possible_duplicate`` event is written.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from mailwright.attempt import Attempt, End, Outcome, Verdict
from mailwright.clock import to_micros
from mailwright.events.log import masked, write_event
from mailwright.events.types import EventType
from mailwright.ids import SourceId
from mailwright.queue.campaign.outcomes import recipient_deferred, recipient_ended
from mailwright.queue.claimed import Claimed, last_reply_of
from mailwright.queue.delivery import MOVES, State
from mailwright.queue.statements import (
    FINISH,
    FINISH_QUEUED,
    LINE_DUE,
    REQUEUE,
    TAKE_FROM_LINE,
    insert_finished,
)
from mailwright.reply import Reply
from mailwright.store.statements import Bound, Step, Unit

#: A connection lost between dot and reply this often ends a delivery. What a dead
#: start left unsettled does not count: that was our fault, and is tried until it expires.
MAX_LOST: Final = 2
#: Category of what could not be made for its recipient.
UNRENDERED: Final = "unrendered"


class Told(Protocol):
    """A DSN that commits with what it reports."""

    @property
    def message(self) -> str:
        """Its public id."""
        ...

    @property
    def statements(self) -> tuple[Bound, ...]:
        """Its rows."""
        ...


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a claimed delivery.

    Attributes:
        state: where it goes; ``QUEUED`` is back to its line.
        due_at: when it is due again, for ``QUEUED``.
        counts: whether the attempt counts.
        may_have_arrived: without our knowing.
        lost: so, because a connection was lost between dot and reply.
        category: of the reply.
    """

    state: State
    category: str = ""
    due_at: datetime | None = None
    counts: bool = True
    may_have_arrived: bool = False
    lost: bool = False


def move_of(
    claimed: Claimed,
    attempt: Attempt,
    verdict: Verdict,
    *,
    retry_at: datetime,
    rest: timedelta,
    ambiguous_retry: timedelta,
    now: datetime,
) -> Move:
    """Return where ``claimed`` goes after ``attempt``.

    ``retry_at`` is the ladder's answer; ``rest`` is how long mail waits that cannot be
    signed. A retry is due at the latest when the delivery expires, so that the end is
    not late.
    """
    if attempt.end is End.NOT_OFFERED:
        return Move(State.QUEUED, due_at=now, counts=False)
    if attempt.end is End.UNSIGNABLE:
        due = min(now + rest, claimed.expires_at)
        return Move(State.QUEUED, due_at=due, counts=False)
    if attempt.end is End.UNRENDERED:
        return Move(State.BOUNCED, UNRENDERED)
    if attempt.end in {End.AMBIGUOUS, End.ORPHANED}:
        # The latter has nothing to do with the receiver: like what a dead start left
        # behind, it is tried until it expires.
        is_lost = attempt.end is End.AMBIGUOUS
        if is_lost and claimed.lost + 1 >= MAX_LOST:
            return Move(State.EXPIRED, "network", may_have_arrived=True, lost=True)
        due = min(now + ambiguous_retry, claimed.expires_at)
        return Move(State.QUEUED, "network", due, may_have_arrived=True, lost=is_lost)
    match verdict.outcome:
        case Outcome.DELIVERED:
            return Move(State.DELIVERED)
        case Outcome.FAIL:
            return Move(State.BOUNCED, verdict.category)
        case Outcome.RETRY | Outcome.REQUEUE:
            due = min(retry_at, claimed.expires_at)
            return Move(State.QUEUED, verdict.category, due)


def unit_of(
    claimed: Claimed,
    attempt: Attempt,
    move: Move,
    *,
    source: SourceId | None,
    node: int,
    epoch: int,
    now: datetime,
    provider: str = "",
    report: Told | None = None,
) -> Unit:
    """Return the unit that settles ``attempt`` with ``move``, and its report with it."""
    event = MOVES[State.SENDING, move.state]
    data = _data(claimed, attempt, move, source)
    if provider:
        data["provider"] = provider
    if report is not None:
        data["dsn"] = report.message
    about = claimed.about
    mine = {
        "delivery_id": claimed.id,
        "my_epoch": epoch,
        "my_attempt": claimed.attempt,
    }
    then: tuple[Bound, ...]
    if move.due_at is None:
        guard = FINISH(**mine)
        then = (
            _finished(claimed, move, attempt.reply, source, now),
            write_event(node, now, event, about, data),
            TAKE_FROM_LINE(line_id=claimed.line.id),
            *_ended(claimed, move, attempt.reply, now),
        )
    else:
        due = to_micros(move.due_at)
        guard = REQUEUE(
            **mine,
            due=due,
            uncounted=int(not move.counts),
            may_have_arrived=int(move.may_have_arrived),
            was_lost=int(move.lost),
            said=last_reply_of(attempt, now),
            reported=int(report is not None),
        )
        then = (LINE_DUE(line_id=claimed.line.id, due=due),)
        if move.counts:
            said = about.campaign, claimed.message, move.category, attempt.reply
            told = recipient_deferred(*said)
            then = (*then, write_event(node, now, event, about, data), *told)
    if report is not None:
        then = (*then, *report.statements)

    def stale() -> tuple[Bound, ...]:
        return (write_event(node, now, EventType.POSSIBLE_DUPLICATE, about, data),)

    return Unit((Step(guard, then, stale),))


def end_waiting(
    claimed: Claimed,
    state: State,
    *,
    node: int,
    now: datetime,
    report: Told | None = None,
) -> Step:
    """Return the step that ends a delivery which waits; no row: it does not any more.

    ``claimed`` is its row as it was read; its ``attempt`` is the last one.
    """
    event = MOVES[State.QUEUED, state]
    data: dict[str, Any] = {"attempts": claimed.attempt}
    if claimed.ambiguous:
        data["possible_duplicate"] = True
    if report is not None:
        data["dsn"] = report.message
    return Step(
        FINISH_QUEUED(delivery_id=claimed.id, line_id=claimed.line.id),
        (
            _finished(claimed, Move(state), None, claimed.source, now),
            write_event(node, now, event, claimed.about, data),
            TAKE_FROM_LINE(line_id=claimed.line.id),
            *_ended(claimed, Move(state), None, now),
            *(() if report is None else report.statements),
        ),
    )


def _data(
    claimed: Claimed, attempt: Attempt, move: Move, source: SourceId | None
) -> dict[str, Any]:
    """Return what the event says. Reply texts lose their addresses here."""
    reply = attempt.reply
    data: dict[str, Any] = {
        "attempt": claimed.attempt,
        "source": source,
        "code": reply.code,
        "enhanced": reply.enhanced,
        "text": masked(reply.text) if "@" in reply.text else reply.text,
        "phase": reply.phase.value,
        "origin": reply.origin.value,
    }
    if attempt.hop:
        data["hop"] = attempt.hop
    if attempt.tls:
        data["tls"] = attempt.tls
    if attempt.edits:
        data["edits"] = list(attempt.edits)
    if move.category:
        data["category"] = move.category
    if move.due_at is not None:
        data["due_at"] = move.due_at.isoformat(timespec="milliseconds")
    if move.may_have_arrived or claimed.ambiguous:
        data["possible_duplicate"] = True
    return data


def _ended(
    of: Claimed, move: Move, reply: Reply | None, now: datetime
) -> tuple[Bound, ...]:
    about = of.line.key.campaign, of.message
    return recipient_ended(*about, move.state, move.category, reply, now)


def _finished(
    claimed: Claimed,
    move: Move,
    reply: Reply | None,
    source: SourceId | None,
    now: datetime,
) -> Bound:
    return insert_finished(claimed.accepted_at.date())(
        id=claimed.id,
        message=claimed.message,
        tenant=claimed.tenant,
        stream=claimed.stream,
        campaign=claimed.line.key.campaign,
        recipient=claimed.recipient,
        subject=claimed.subject,
        state=int(move.state),
        attempt=claimed.attempt,
        ambiguous=claimed.ambiguous + move.may_have_arrived,
        source=source,
        accepted_at=to_micros(claimed.accepted_at),
        finished_at=to_micros(now),
        code=0 if reply is None else reply.code,
        enhanced="" if reply is None else reply.enhanced,
        reply="" if reply is None else reply.text,
        category=move.category,
    )
