"""No mailbox gets reports faster than its pace, and none is put off for long."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mailwright.queue.pace import INTERVAL, Pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_the_first_report_leaves_at_once_and_the_next_ones_one_by_one() -> None:
    pace = Pace(SECOND)
    assert [pace.next_at("b@crm.example", NOW) - NOW for _ in range(3)] == [
        0 * SECOND,
        1 * SECOND,
        2 * SECOND,
    ]


def test_after_a_rest_the_next_one_leaves_at_once() -> None:
    pace = Pace(SECOND)
    pace.next_at("b@crm.example", NOW)
    later = NOW + 5 * SECOND
    assert pace.next_at("b@crm.example", later) == later


def test_tags_of_one_mailbox_share_its_pace_and_others_do_not() -> None:
    pace = Pace(SECOND)
    assert pace.next_at("b+1@crm.example", NOW) == NOW
    assert pace.next_at("b+2@crm.example", NOW) == NOW + SECOND
    assert pace.next_at("c@crm.example", NOW) == NOW
    assert pace.next_at("b@other.example", NOW) == NOW


def test_memory_is_bounded_and_the_busiest_is_remembered() -> None:
    pace = Pace(SECOND, addresses_max=3)
    for n in range(100):
        pace.next_at("busy@crm.example", NOW)
        pace.next_at(f"u{n}@crm.example", NOW)
    assert len(pace) == 3
    assert pace.next_at("busy@crm.example", NOW) == NOW + 100 * SECOND


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200))))
def test_no_minute_has_more_than_sixty(asked: list[tuple[str, int]]) -> None:
    pace = Pace()
    given_out: dict[str, list[datetime]] = {}
    now = NOW
    for local_part, wait_ms in asked:
        now += timedelta(milliseconds=wait_ms)
        at = pace.next_at(f"{local_part}@crm.example", now)
        assert at >= now
        given_out.setdefault(local_part, []).append(at)
    for times in given_out.values():
        assert all(b - a >= INTERVAL for a, b in pairwise(times))
