"""A window never opens at a local time that is not in it, and never misses one that is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.queue.campaign.window import (
    LOOK_AHEAD,
    Range,
    Window,
    parse_window,
)

#: With and without summer time, by half an hour (Lord Howe), over the date line (Apia).
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/Sao_Paulo",
]
QUARTERS = st.integers(0, 95).map(lambda each: each * 15)
RANGES = st.builds(
    Range,
    st.frozensets(st.integers(0, 6), min_size=1),
    QUARTERS,
    QUARTERS.map(lambda minute: minute or 1440),
)
WINDOWS = st.builds(
    Window,
    st.sampled_from(ZONES),
    st.just(False),
    st.lists(RANGES, min_size=1, max_size=3).map(tuple),
)
#: Two years that hold every kind of change of the clocks, near one half of the time.
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 2, 15, 2, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
]
INSTANTS = st.one_of(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes),
        st.sampled_from(CHANGES),
        st.integers(-3000, 3000),
    ),
)


def is_in(window: Window, at: datetime) -> bool:
    """Say by the letter whether ``at`` is in ``window``."""
    local = at.astimezone(ZoneInfo(window.timezone)).replace(tzinfo=None)
    for each in window.ranges:
        for day in (local.date(), local.date() - timedelta(days=1)):
            if day.weekday() not in each.days:
                continue
            midnight = datetime(day.year, day.month, day.day)
            length = (each.end - each.start) % 1440 or 1440
            start = midnight + timedelta(minutes=each.start)
            if start <= local < start + timedelta(minutes=length):
                return True
    return False


@given(WINDOWS, INSTANTS)
def test_it_is_open_exactly_at_the_local_times_that_are_in_it(
    window: Window, now: datetime
) -> None:
    assert window.is_open(now) == is_in(window, now)


@settings(deadline=None)
@given(WINDOWS, INSTANTS)
def test_it_opens_at_the_first_instant_that_is_in_it(
    window: Window, now: datetime
) -> None:
    opens_at = window.opens_at(now)
    assert now <= opens_at
    assert is_in(window, opens_at)
    # Nothing changes but on a quarter of an hour: all of them before are outside.
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    looked = now
    while looked < opens_at:
        assert not is_in(window, looked), "an opening was missed"
        quarter += timedelta(minutes=15)
        looked = max(now, quarter)


@settings(deadline=None)
@given(WINDOWS, INSTANTS)
def test_the_next_opening_is_within_eight_days_but_for_an_hour_that_is_left_out(
    window: Window, now: datetime
) -> None:
    waits = window.opens_at(now) - now
    assert waits <= LOOK_AHEAD
    if waits > timedelta(days=8):
        zone = ZoneInfo(window.timezone)
        offsets = {
            (now + timedelta(days=day)).astimezone(zone).utcoffset() for day in range(9)
        }
        assert len(offsets) > 1


@settings(deadline=None)
@given(WINDOWS, INSTANTS)
def test_it_stays_as_it_is_up_to_the_next_change(window: Window, now: datetime) -> None:
    changes_at = window.changes_at(now)
    assert changes_at > now
    assert is_in(window, changes_at - timedelta(microseconds=1)) == is_in(window, now)
    if changes_at - now < LOOK_AHEAD:
        assert is_in(window, changes_at) != is_in(window, now)


@given(WINDOWS)
def test_its_spelling_is_read_back(window: Window) -> None:
    assert parse_window(window.to_json()) == window
