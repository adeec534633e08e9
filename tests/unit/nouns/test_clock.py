"""The clock: steady, slewed, and whole microseconds in the store."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.clock import ManualClock, SystemClock, from_micros, to_micros


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


@pytest.mark.parametrize("ahead", [-20.0, 20.0])
def test_a_small_difference_is_slewed_by_a_tenth(
    monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    clock = SystemClock()
    offset = clock.now().timestamp() - time.monotonic()
    wall = time.time() - time.monotonic()
    monkeypatch.setattr(time, "time", lambda: wall + time.monotonic() + ahead)
    clock.reread()
    slewed = clock.now().timestamp() - time.monotonic() - offset
    assert slewed == pytest.approx(ahead / 10, abs=0.1)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    assert clock.now() == start
    clock.advance(90)
    assert clock.now() - start == timedelta(seconds=90)
    assert clock.steady() == 90
