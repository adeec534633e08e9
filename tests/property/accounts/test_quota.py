"""Limits of credentials: no hour is over its limit, nothing waits without need, nobody's
mail is put off for ever, and a day's quota is exact, whatever comes in whatever order."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.quota import (
    HORIZON,
    Excess,
    Grant,
    Limits,
    Reason,
    Usage,
    day_of,
    grant,
    hour_of,
    leaves_at,
    start_of,
)

START = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)

#: Seconds since the offer before, recipients, seconds that they are put off.
OFFERS = st.lists(
    st.tuples(
        st.integers(0, 5_000),
        st.integers(1, 40),
        st.one_of(st.just(0), st.integers(0, 90_000)),
    ),
    max_size=40,
)


def play(
    limits: Limits, offers: Sequence[tuple[int, int, int]]
) -> list[tuple[datetime, datetime, int, Grant | Excess]]:
    """Return for each offer: now, its start, its recipients, what was said."""
    hours: Counter[int] = Counter()
    days: Counter[int] = Counter()
    said = []
    now = START
    for pause, want, ahead in offers:
        now += timedelta(seconds=pause)
        start = now + timedelta(seconds=ahead)
        usage = Usage(hours, days[day_of(now)])
        found = grant(limits, usage, want, now=now, start=start)
        said.append((now, start, want, found))
        if isinstance(found, Grant):
            days[day_of(now)] += want
            for slot in found.slots:
                hours[slot.hour] += slot.count
    return said


@given(st.integers(1, 60), OFFERS)
def test_no_hour_has_more_than_its_limit(
    hourly: int, offers: list[tuple[int, int, int]]
) -> None:
    leaving: Counter[int] = Counter()
    for _, start, want, found in play(Limits(hourly=hourly), offers):
        if not isinstance(found, Grant):
            continue
        times = [
            leaves_at(slot, number, hourly, start)
            for slot in found.slots
            for number in range(slot.count)
        ]
        assert len(times) == want
        assert all(each >= start for each in times)
        leaving.update(map(hour_of, times))
    assert all(count <= hourly for count in leaving.values())


@given(st.integers(1, 60), OFFERS)
def test_nothing_waits_while_an_earlier_hour_has_room(
    hourly: int, offers: list[tuple[int, int, int]]
) -> None:
    hours: Counter[int] = Counter()
    for _, start, _, found in play(Limits(hourly=hourly), offers):
        assert isinstance(found, Grant), "so few hours are never too far ahead"
        for slot in found.slots:
            assert slot.first == hours[slot.hour]
            hours[slot.hour] += slot.count
        for earlier in range(hour_of(start), found.slots[-1].hour):
            assert hours[earlier] >= hourly


@given(st.integers(1, 300), OFFERS)
def test_a_day_takes_its_quota_and_not_one_more(
    daily: int, offers: list[tuple[int, int, int]]
) -> None:
    taken: Counter[int] = Counter()
    for now, _, want, found in play(Limits(daily=daily), offers):
        day = day_of(now)
        if isinstance(found, Grant):
            assert found.slots == ()
            taken[day] += want
            assert taken[day] <= daily
        elif want > daily:
            assert found == Excess(Reason.TOO_LARGE, None)
        else:
            assert taken[day] + want > daily
            assert found.reason is Reason.DAILY
            assert found.retry_at is not None
            assert day_of(found.retry_at) == day + 1
            assert found.retry_at - now <= timedelta(days=1)


@given(
    st.integers(1, 100), st.integers(0, 200), st.integers(1, 150), st.integers(1, 50)
)
def test_a_full_backlog_takes_nothing(
    backlog: int, queued: int, want: int, hourly: int
) -> None:
    limits = Limits(hourly=hourly, backlog=backlog)
    found = grant(limits, Usage(backlog=queued), want, now=START, start=START)
    if want > backlog:
        assert found == Excess(Reason.TOO_LARGE, None)
    elif queued + want > backlog:
        assert isinstance(found, Excess)
        assert found.reason is Reason.BACKLOG
        assert found.retry_at is not None
    else:
        assert isinstance(found, Grant)


@given(st.integers(1, 5), st.integers(1, 2_000))
def test_nothing_is_paced_further_ahead_than_the_horizon(
    hourly: int, want: int
) -> None:
    found = grant(Limits(hourly=hourly), Usage(), want, now=START, start=START)
    if isinstance(found, Grant):
        assert start_of(found.slots[-1].hour) <= START + HORIZON
    else:
        assert found.reason is Reason.HORIZON
        assert want > hourly * (HORIZON / timedelta(hours=1) - 1)


@given(st.integers(1, 100), st.integers(1, 30))
def test_what_would_expire_before_its_turn_is_not_taken(want: int, hours: int) -> None:
    end = START + timedelta(hours=hours)
    found = grant(Limits(hourly=3), Usage(), want, now=START, start=START, end=end)
    if isinstance(found, Grant):
        assert start_of(found.slots[-1].hour) <= end
    else:
        assert found.reason is Reason.HORIZON


@given(st.integers(1, 100), st.integers(1, 400))
def test_an_hour_to_come_is_used_evenly(hourly: int, want: int) -> None:
    found = grant(Limits(hourly=hourly), Usage(), want, now=START, start=START)
    assert isinstance(found, Grant)
    gap = timedelta(hours=1) / hourly
    for slot in found.slots[1:]:
        times = [leaves_at(slot, number, hourly, START) for number in range(slot.count)]
        assert times[0] == start_of(slot.hour)
        for one, next_one in pairwise(times):
            assert abs((next_one - one) - gap) <= timedelta(microseconds=1)
