"""When a delivery is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from mailwright.queue.retry import next_attempt_at

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LADDER = (300.0, 900.0, 3600.0)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 300), (2, 900), (3, 3600), (4, 3600), (1000, 3600)]
)
def test_the_ladder_is_climbed_and_its_last_rung_repeats(
    attempt: int, seconds: int
) -> None:
    due = next_attempt_at(attempt, LADDER, now=NOW, jitter=0.5)
    assert due == NOW + timedelta(seconds=seconds)


def test_jitter_spreads_over_a_tenth_each_way() -> None:
    early = next_attempt_at(3, LADDER, now=NOW, jitter=0.0)
    late = next_attempt_at(3, LADDER, now=NOW, jitter=1.0)
    assert early == NOW + timedelta(seconds=3600 * 0.9)
    assert late == NOW + timedelta(seconds=3600 * 1.1)
