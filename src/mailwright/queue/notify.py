"""Whether a delivery is to be reported, and how: what NOTIFY asks for. No I/O.

Who is told of what (RFC 3461 §4.1):

===========  =============================================================
failed       unless NOTIFY leaves FAILURE out
delayed      only if NOTIFY has DELAY; once, :data:`DELAY_AFTER` after start
relayed      only if NOTIFY has SUCCESS and the receiver makes no DSNs
suppressed   as failed, but only if NOTIFY has FAILURE
cancelled    never: the submitter did it
===========  =============================================================
"""

from datetime import datetime, timedelta
from typing import Final

from mailwright.accounts.directory import DsnPolicy, StreamClass
from mailwright.envelope import Notify
from mailwright.queue.claimed import Claimed
from mailwright.queue.delivery import State
from mailwright.queue.settle import Move
from mailwright.report import Action

#: A delivery that has been tried this long without a verdict is reported as delayed.
DELAY_AFTER: Final = timedelta(hours=4)


def action_of(
    state: State, notify: str, *, has_dsn: bool = False, is_late: bool = False
) -> Action | None:
    """Return what to report of a delivery that moved to ``state``, if anything.

    Args:
        state: ``QUEUED`` is a move back to its line.
        notify: NOTIFY keywords of the recipient joined by commas, or ``""``.
        has_dsn: the receiver that took it makes reports itself.
        is_late: it has been tried for long, and nothing was said of that yet.
    """
    wanted = notify.split(",") if notify else ()
    match state:
        case State.BOUNCED | State.EXPIRED:
            is_due = not wanted or Notify.FAILURE in wanted
            return Action.FAILED if is_due else None
        case State.SUPPRESSED:
            return Action.FAILED if Notify.FAILURE in wanted else None
        case State.DELIVERED:
            is_due = Notify.SUCCESS in wanted and not has_dsn
            return Action.RELAYED if is_due else None
        case State.QUEUED:
            return Action.DELAYED if is_late and Notify.DELAY in wanted else None
        case _:
            return None


def is_late(claimed: Claimed, move: Move, now: datetime) -> bool:
    """Whether ``claimed``, tried again by ``move``, is to be called delayed now.

    Not when it ends at its next turn: that report is enough.
    """
    if claimed.is_delay_reported or move.due_at is None or not move.counts:
        return False
    start = claimed.not_before or claimed.accepted_at
    return now - start >= DELAY_AFTER and move.due_at < claimed.expires_at


def is_allowed(policy: DsnPolicy, stream_class: StreamClass) -> bool:
    """Whether a credential's policy lets mail of a class be reported on."""
    if policy is DsnPolicy.TRANSACTIONAL:
        return stream_class is StreamClass.TRANSACTIONAL
    return policy is DsnPolicy.ALL
