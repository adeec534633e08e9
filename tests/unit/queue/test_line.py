"""A line's picture in memory."""

from datetime import UTC, datetime, timedelta

from mailwright.ids import LineId
from mailwright.queue.line import NOTHING_DUE, Line

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_line(count: int = 0) -> Line:
    # No rule here looks at the key.
    return Line(LineId(1), key=None, count=count, next_due_at=NOW)


def test_what_is_claimed_or_being_claimed_is_not_available() -> None:
    line = make_line(count=10)
    line.claiming = 4
    assert line.available == 6
    line.claimed(asked=4, got=3)
    assert (line.available, line.sending, line.claiming) == (7, 3, 0)


def test_a_line_with_everything_claimed_is_never_due() -> None:
    line = make_line(count=2)
    line.claiming = 2
    line.claimed(asked=2, got=2)
    assert line.ready_at() == NOTHING_DUE


def test_what_others_have_asked_for_keeps_the_line_due() -> None:
    line = make_line(count=3)
    line.claiming = 3
    line.claimed(asked=1, got=1)
    assert line.available == 0
    assert line.ready_at() == NOW
    line.claimed(asked=2, got=0)
    assert (line.available, line.ready_at()) == (2, NOW)


def test_a_delivery_that_is_due_again_makes_the_line_due() -> None:
    line = make_line(count=1)
    line.claiming = 1
    line.claimed(asked=1, got=1)
    again = NOW + timedelta(minutes=5)
    line.sending -= 1
    line.due_again(again)
    line.due_again(again + timedelta(hours=1))
    assert line.ready_at() == again


def test_a_resting_line_is_ready_when_both_its_rest_and_its_time_are_over() -> None:
    line = make_line(count=1)
    line.rest(NOW + timedelta(minutes=1), "connection refused")
    assert line.ready_at() == NOW + timedelta(minutes=1)
    line.next_due_at = NOW + timedelta(hours=1)
    assert line.ready_at() == NOW + timedelta(hours=1)
    line.wake()
    assert (line.wait_until, line.wait_reason) == (None, "")


def test_a_line_is_idle_only_when_nothing_is_on_its_way_into_it() -> None:
    line = make_line()
    assert line.is_idle
    line.accepting = 1
    assert not line.is_idle
