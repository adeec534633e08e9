"""One clock for the whole node, handed to whoever needs it.

Rules never read time: they take ``now``. Drivers get a :class:`Clock`. Wall time is
what it was at the start plus the steady time since, so a step of the system clock does
not step ours; the offset is re-read on :meth:`SystemClock.reread` and slewed.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from typing_extensions import override

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: How much of a small difference is taken over at each reading.
_SLEW: Final = 0.1


class Clock(Protocol):
    """Where drivers read time."""

    def now(self) -> datetime:
        """Return aware UTC wall time; never steps backwards."""
        ...

    def steady(self) -> float:
        """Return seconds of a clock that no one sets; only differences mean something."""
        ...


class SystemClock:
    """The machine's clock, steadied."""

    def __init__(self) -> None:
        self._started_at = time.time()
        self._started_steady = time.monotonic()

    def now(self) -> datetime:
        """Return wall time at start plus the steady time since."""
        return datetime.fromtimestamp(
            self._started_at + time.monotonic() - self._started_steady, UTC
        )

    def steady(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    def reread(self) -> timedelta:
        """Compare with the system's wall clock and slew a tenth of the way to it.

        Call once a minute. Returns how far the system clock was ahead of ours, so that
        the caller can tell a drift (slewed away) from a jump (over 5 min: left alone,
        a person or a time service has to settle it).
        """
        ahead_s = time.time() - self.now().timestamp()
        if abs(ahead_s) < 300:
            # A slew back is smaller than the minute that has passed: never a step back.
            self._started_at += ahead_s * _SLEW
        return timedelta(seconds=ahead_s)


class ManualClock:
    """A clock that moves only when told; for tests and the simulator."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._steady = 0.0

    def now(self) -> datetime:
        """Return the time set last."""
        return self._now

    def steady(self) -> float:
        """Return the seconds advanced so far."""
        return self._steady

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now += timedelta(seconds=seconds)
        self._steady += seconds

    @override
    def __repr__(self) -> str:
        return f"ManualClock({self._now.isoformat()})"


def to_micros(at: datetime) -> int:
    """Return ``at`` as microseconds since 1970 UTC: how the store keeps instants.

    Raises:
        TypeError: ``at`` is naive.
    """
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant that :func:`to_micros` made ``micros`` from."""
    return _EPOCH + timedelta(microseconds=micros)
