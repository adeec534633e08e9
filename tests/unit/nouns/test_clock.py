"""The clock: steady, slewed, and whole microseconds in the store."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.clock import (
    SLEW_MAX,
    ClockTrust,
    ManualClock,
    SystemClock,
    from_micros,
    to_micros,
)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)))
def test_micros_and_back_is_the_same_instant(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    assert from_micros(to_micros(aware)) == aware


def test_micros_count_from_the_epoch_in_any_zone() -> None:
    assert to_micros(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0
    assert from_micros(1_500_000) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(TypeError):
        to_micros(datetime(2026, 1, 1))


def test_a_jump_of_the_system_clock_does_not_move_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SystemClock()
    before = clock.now()
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 3600)
    assert clock.now() - before < timedelta(seconds=60)
    ahead = clock.reread()
    assert ahead > timedelta(minutes=59)
    assert clock.now() - before < timedelta(seconds=60)


class Machine:
    """The machine's two clocks, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 1_800_000_000.0
        self.steady = 100.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.mark.parametrize("ahead", [-20.0, -0.5, 0.5, 20.0])
def test_a_small_difference_is_slewed_away_and_never_stepped(
    monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    machine = Machine(monkeypatch)
    clock = SystemClock()
    machine.wall += ahead
    last = clock.now()
    for _ in range(120):
        clock.reread()
        assert clock.now() == last  # a reading is no step
        machine.passes(60)
        took_s = (clock.now() - last).total_seconds()
        assert 60 * (1 - SLEW_MAX) - 1e-3 <= took_s <= 60 * (1 + SLEW_MAX) + 1e-3
        last = clock.now()
    assert abs(clock.reread()) < timedelta(milliseconds=10)


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(-1e6, 1e6)), max_size=20))
def test_now_never_goes_back_whatever_is_done_to_the_wall_clock(
    steps: list[tuple[float, float]],
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = Machine(monkeypatch)
        clock = SystemClock()
        last = clock.now()
        for passed, jump in steps:
            machine.passes(passed)
            machine.wall += jump
            clock.reread()
            assert last <= clock.now()
            spent = (clock.now() - last).total_seconds()
            assert spent <= passed * (1 + SLEW_MAX) + 1e-3
            last = clock.now()


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last_event", "has_mail", "is_suspect"),
    [
        (None, True, False),
        (NOW, True, False),
        (NOW - timedelta(hours=23), True, False),
        (NOW - timedelta(hours=25), True, True),
        (NOW - timedelta(days=300), False, False),
        (NOW + timedelta(minutes=4), True, False),  # within what is slewed
        (NOW + timedelta(minutes=6), False, True),
        (NOW + timedelta(days=900), True, True),
    ],
)
def test_a_start_judges_the_time_by_the_last_event(
    last_event: datetime | None, has_mail: bool, is_suspect: bool
) -> None:
    trust = ClockTrust()
    trust.start(NOW, last_event, has_mail=has_mail)
    assert trust.is_suspect is is_suspect
    trust.settle()
    assert not trust.is_suspect


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), -timedelta(days=2)])
def test_a_jump_is_suspect_until_it_is_undone_or_settled(ahead: timedelta) -> None:
    trust = ClockTrust()
    trust.compared(timedelta(minutes=4))
    assert not trust.is_suspect
    trust.compared(ahead)
    assert trust.is_suspect
    assert str(abs(ahead)) in trust.suspicion
    trust.compared(timedelta(0))
    assert not trust.is_suspect
    trust.compared(ahead)
    trust.settle()
    trust.compared(ahead + timedelta(seconds=1))
    assert not trust.is_suspect
    trust.compared(ahead * 3)
    assert trust.is_suspect


def test_time_that_runs_well_does_not_settle_a_doubtful_start() -> None:
    trust = ClockTrust()
    trust.start(NOW, NOW + timedelta(days=1), has_mail=True)
    trust.compared(timedelta(0))
    assert "1 day, 0:00:00 in the future" in trust.suspicion


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    assert clock.now() == start
    clock.advance(90)
    assert clock.now() - start == timedelta(seconds=90)
    assert clock.steady() == 90
