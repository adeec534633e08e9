"""Where a delivery goes after an attempt."""

from datetime import UTC, datetime, timedelta

import pytest

from mailwright.attempt import Attempt, End, Outcome, Parcel, Verdict
from mailwright.ids import (
    DeliveryId,
    LineId,
    MessageId,
    SendingDomainId,
    SourceId,
    StreamId,
    Subject,
    TenantId,
)
from mailwright.queue.claimed import Claimed
from mailwright.queue.delivery import FINAL, MOVES, SILENT, State
from mailwright.queue.line import Line
from mailwright.queue.settle import MAX_LOST, Move, move_of
from mailwright.reply import Phase, Reply

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RETRY = NOW + timedelta(minutes=5)
EXPIRES = NOW + timedelta(days=1)


def claimed(
    *, ambiguous: int = 0, lost: int = 0, expires_at: datetime = EXPIRES
) -> Claimed:
    line = Line(LineId(1), None, 1, NOW)
    return Claimed(
        line,
        DeliveryId(1),
        1,
        MessageId(1),
        "a@b.example",
        Subject(b"s" * 16),
        TenantId(1),
        StreamId(1),
        NOW,
        expires_at,
        "s1",
        SourceId(1),
        ambiguous,
        lost,
        "",
        "",
    )


def move(end: End, outcome: Outcome = Outcome.RETRY, **row: object) -> Move:
    parcel = Parcel(
        DeliveryId(1),
        1,
        MessageId(1),
        b"",
        b"",
        "a@b.example",
        "",
        NOW,
        SendingDomainId(1),
        "s1",
    )
    return move_of(
        claimed(**row),
        Attempt(parcel, end, Reply(450, "", "", Phase.DOT)),
        Verdict(outcome, "unknown"),
        retry_at=RETRY,
        rest=timedelta(minutes=5),
        ambiguous_retry=timedelta(minutes=15),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.DELIVERED, State.DELIVERED), (Outcome.FAIL, State.BOUNCED)],
)
def test_a_verdict_ends_a_delivery(outcome: Outcome, state: State) -> None:
    assert move(End.REPLIED, outcome).state is state


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.REQUEUE])
def test_without_a_verdict_it_is_tried_again(outcome: Outcome) -> None:
    found = move(End.REPLIED, outcome)
    assert (found.state, found.due_at, found.counts) == (State.QUEUED, RETRY, True)


def test_a_retry_is_due_at_the_latest_when_the_delivery_expires() -> None:
    soon = NOW + timedelta(seconds=1)
    assert move(End.REPLIED, expires_at=soon).due_at == soon


def test_what_was_never_offered_does_not_count() -> None:
    found = move(End.NOT_OFFERED)
    assert (found.state, found.due_at, found.counts) == (State.QUEUED, NOW, False)


def test_what_cannot_be_signed_waits_and_does_not_count() -> None:
    found = move(End.UNSIGNABLE)
    assert found.state is State.QUEUED
    assert found.due_at == NOW + timedelta(minutes=5)
    assert not found.counts


def test_what_cannot_be_made_for_its_recipient_ends_whatever_a_reply_would_mean() -> (
    None
):
    for outcome in Outcome:
        found = move(End.UNRENDERED, outcome)
        assert (found.state, found.category) == (State.BOUNCED, "unrendered")


def test_a_connection_lost_after_the_dot_is_tried_again_later_and_marked() -> None:
    found = move(End.AMBIGUOUS)
    assert found.state is State.QUEUED
    assert found.due_at == NOW + timedelta(minutes=15)
    assert found.lost


def test_a_connection_lost_after_the_dot_twice_ends_the_delivery() -> None:
    found = move(End.AMBIGUOUS, ambiguous=1, lost=1)
    assert (found.state, found.lost) == (State.EXPIRED, True)


def test_crashes_never_bring_that_end_nearer() -> None:
    found = move(End.AMBIGUOUS, ambiguous=7)
    assert (found.state, found.lost) == (State.QUEUED, True)


def test_what_a_dead_process_left_is_tried_again_later_and_marked() -> None:
    found = move(End.ORPHANED)
    assert found.state is State.QUEUED
    assert found.due_at == NOW + timedelta(minutes=15)
    assert (found.counts, found.may_have_arrived, found.lost) == (True, True, False)
    soon = NOW + timedelta(seconds=1)
    assert move(End.ORPHANED, expires_at=soon).due_at == soon


def test_dead_processes_never_end_a_delivery() -> None:
    before = {"ambiguous": 9, "lost": MAX_LOST - 1}
    found = move(End.ORPHANED, **before)
    assert (found.state, found.lost) == (State.QUEUED, False)
    # Control: a lost connection does.
    assert move(End.AMBIGUOUS, **before).state is State.EXPIRED


@pytest.mark.parametrize(
    ("end", "may_have_arrived"),
    [
        (End.REPLIED, False),
        (End.NOT_OFFERED, False),
        (End.UNSIGNABLE, False),
        (End.UNRENDERED, False),
        (End.AMBIGUOUS, True),
        (End.ORPHANED, True),
    ],
)
def test_only_what_nobody_answered_may_have_arrived(
    end: End, *, may_have_arrived: bool
) -> None:
    assert move(end).may_have_arrived is may_have_arrived
    assert move(end, lost=MAX_LOST - 1).may_have_arrived is may_have_arrived


def test_every_move_of_an_attempt_is_in_the_table() -> None:
    for end in End:
        for outcome in Outcome:
            state = move(end, outcome).state
            assert (State.SENDING, state) in MOVES or (State.SENDING, state) in SILENT


def test_nothing_leaves_a_final_state() -> None:
    for before, _ in [*MOVES, *SILENT]:
        assert before not in FINAL
