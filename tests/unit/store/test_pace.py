"""When the next turn begins."""

import pytest

from mailwright.store.pace import BUSY_UNITS, ENOUGH_UNITS, REST_S, TurnPace


def after(
    rate: float, units: int = 4, *, seconds: float = 2.0
) -> tuple[TurnPace, float]:
    """Return a pace that has seen turns of ``units``, and the time of the last end."""
    pace, now = TurnPace(), 100.0
    while now < 100.0 + seconds:
        now += units / rate
        pace.ended(units, now)
    return pace, now


def test_an_idle_store_begins_at_once() -> None:
    assert TurnPace().rest_s(1, 0.0) == 0.0
    pace, now = after(BUSY_UNITS * 0.8)
    assert pace.rest_s(1, now) == 0.0


def test_a_busy_store_rests_from_the_end_of_the_last_turn() -> None:
    pace, now = after(BUSY_UNITS * 1.5)
    assert pace.rest_s(1, now) == pytest.approx(REST_S)
    assert pace.rest_s(1, now + REST_S / 2) == pytest.approx(REST_S / 2)
    assert pace.rest_s(1, now + REST_S) == 0.0


def test_it_does_not_wait_for_more_when_enough_waits() -> None:
    pace, now = after(BUSY_UNITS * 10)
    assert pace.rest_s(ENOUGH_UNITS - 1, now) > 0.0
    assert pace.rest_s(ENOUGH_UNITS, now) == 0.0


def test_one_burst_makes_no_busy_store_and_a_quiet_second_ends_one() -> None:
    pace, now = after(50.0)
    pace.ended(20, now + 0.001)
    pace.ended(1, now + 0.101)
    assert pace.rest_s(1, now + 0.101) == 0.0
    pace, now = after(BUSY_UNITS * 5)
    pace.ended(1, now + 1.0)
    assert pace.rest_s(1, now + 1.0) == 0.0
