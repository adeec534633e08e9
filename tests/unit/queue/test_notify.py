"""What NOTIFY asks for: every combination, against RFC 3461 §4.1 in plain words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from mailwright.accounts.directory import DsnPolicy, StreamClass
from mailwright.ids import (
    DeliveryId,
    LineId,
    MessageId,
    StreamId,
    Subject,
    TenantId,
)
from mailwright.queue.claimed import Claimed
from mailwright.queue.delivery import State
from mailwright.queue.line import Line
from mailwright.queue.notify import DELAY_AFTER, action_of, is_allowed, is_late
from mailwright.queue.settle import Move
from mailwright.report import Action

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORDS = ("DELAY", "FAILURE", "SUCCESS")
#: Every value that NOTIFY can have (RFC 3461 §4.1), and none.
NOTIFIES = [
    "",
    "NEVER",
    *(",".join(some) for n in (1, 2, 3) for some in combinations(WORDS, n)),
]


@pytest.mark.parametrize("notify", NOTIFIES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("has_dsn", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_what_is_reported(state: State, notify: str, has_dsn: bool, late: bool) -> None:
    asked = set(notify.split(",")) - {"", "NEVER"}
    expected = None
    if state in {State.BOUNCED, State.EXPIRED}:
        expected = Action.FAILED if "FAILURE" in asked or not notify else None
    elif state is State.SUPPRESSED:
        expected = Action.FAILED if "FAILURE" in asked else None
    elif state is State.DELIVERED and "SUCCESS" in asked and not has_dsn:
        expected = Action.RELAYED
    elif state is State.QUEUED and "DELAY" in asked and late:
        expected = Action.DELAYED
    assert action_of(state, notify, has_dsn=has_dsn, is_late=late) == expected


CLAIMED = Claimed(
    Line(LineId(1), None, 1, NOW),
    DeliveryId(1),
    1,
    MessageId(1),
    "a@b.example",
    Subject(b"s" * 16),
    TenantId(1),
    StreamId(1),
    NOW - DELAY_AFTER,
    NOW + timedelta(days=1),
    "s1",
    None,
    0,
    0,
    "DELAY",
    "",
)
AGAIN = Move(State.QUEUED, due_at=NOW + timedelta(hours=1))


def test_a_delivery_is_late_after_its_time() -> None:
    assert is_late(CLAIMED, AGAIN, NOW)


@pytest.mark.parametrize(
    ("claimed", "move"),
    [
        (replace(CLAIMED, accepted_at=NOW - DELAY_AFTER + timedelta(seconds=1)), AGAIN),
        (replace(CLAIMED, not_before=NOW - timedelta(hours=1)), AGAIN),
        (replace(CLAIMED, is_delay_reported=True), AGAIN),
        (CLAIMED, replace(AGAIN, counts=False)),
        (CLAIMED, Move(State.DELIVERED)),
        (CLAIMED, Move(State.EXPIRED)),
        # The report that it expired comes soon enough.
        (CLAIMED, replace(AGAIN, due_at=CLAIMED.expires_at)),
    ],
    ids=["early", "began late", "reported", "untried", "done", "over", "ends next"],
)
def test_it_is_not_called_late(claimed: Claimed, move: Move) -> None:
    assert not is_late(claimed, move, NOW)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (DsnPolicy.ALL, {StreamClass.TRANSACTIONAL, StreamClass.BULK}),
        (DsnPolicy.TRANSACTIONAL, {StreamClass.TRANSACTIONAL}),
        (DsnPolicy.NONE, set()),
    ],
)
def test_a_policy_is_about_classes_of_mail(
    policy: DsnPolicy, allowed: set[StreamClass]
) -> None:
    assert {each for each in StreamClass if is_allowed(policy, each)} == allowed
