"""When a delivery is tried again. Values in, values out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

#: Width of the jitter, as a share of the interval: due times must not march in step.
JITTER: Final = 0.2


def next_attempt_at(
    attempt: int, ladder_s: Sequence[float], *, now: datetime, jitter: float
) -> datetime:
    """Return when to try again after attempt number ``attempt`` (from 1) failed.

    ``ladder_s`` is the intervals; the last one repeats. ``jitter`` in [0, 1) spreads
    the time over ±10 % of the interval; the caller draws it, so that this stays a
    function.

    Source: RFC 5321 §4.5.4.1 (two tries in the first hour, then ever more rarely).
    """
    interval = ladder_s[min(attempt, len(ladder_s)) - 1]
    return now + timedelta(seconds=interval * (1 + JITTER * (jitter - 0.5)))
