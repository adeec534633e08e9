"""One clock for the whole node, handed to whoever needs it.

Rules never read time: they take ``now``. Drivers get a :class:`Clock`. Wall time is
what it was at the start plus the steady time since, so a step of the system clock does
not step ours; the offset is re-read on :meth:`SystemClock.reread` and slewed: for a
while ours runs a little faster or slower.

A clock that was set far off is not followed but *suspect*: :class:`ClockTrust` says
so, and then the node delivers, but expires nothing and advances no plan.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from typing_extensions import override

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: By how much ours runs faster or slower at most while it makes up for a difference:
#: limits per time are kept within this.
SLEW_MAX: Final = 0.01
#: A small difference is made up for within this, if :data:`SLEW_MAX` allows.
_SLEW_S: Final = 600.0
#: Wall and steady time may part by this much; more is a jump.
PARTED_MAX: Final = timedelta(minutes=5)
#: How long ago the last event may be when a node with queued mail starts.
IDLE_MAX: Final = timedelta(hours=24)


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
        self._read_at = time.time()
        self._read_steady = time.monotonic()
        self._slew = 0.0

    def now(self) -> datetime:
        """Return wall time at start plus the steady time since, slewed."""
        return datetime.fromtimestamp(self._seconds(), UTC)

    def steady(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    def reread(self) -> timedelta:
        """Compare with the system's wall clock and slew towards it.

        Call once a minute. Returns how far the system clock is ahead of ours, so that
        the caller can tell a drift (slewed away) from a jump (over 5 min: left alone,
        a person or a time service has to settle it).
        """
        seconds = self._seconds()
        ahead = timedelta(seconds=time.time() - seconds)
        self._read_at, self._read_steady = seconds, time.monotonic()
        slew = 0.0 if abs(ahead) > PARTED_MAX else ahead.total_seconds() / _SLEW_S
        self._slew = max(-SLEW_MAX, min(slew, SLEW_MAX))
        return ahead

    def _seconds(self) -> float:
        since = time.monotonic() - self._read_steady
        return self._read_at + since * (1 + self._slew)


class ClockTrust:
    """Whether wall time may be believed; what expires or plans asks first.

    Attributes:
        suspicion: why not, for people; ``""`` while it may.
    """

    def __init__(self) -> None:
        self.suspicion = ""
        self._settled_ahead = timedelta(0)
        self._ahead = timedelta(0)
        self._at_start = ""

    @property
    def is_suspect(self) -> bool:
        """Whether nothing may expire and no plan may advance."""
        return bool(self.suspicion)

    def start(
        self, now: datetime, last_event_at: datetime | None, *, has_mail: bool
    ) -> None:
        """Judge the time at a start by the last event that was written.

        An event in the future means that the clock was set back, or had been ahead. One
        long ago while mail waits means that it was set ahead, or that the node was off
        for long: a person knows which.
        """
        self._at_start = ""
        if last_event_at is None:
            pass
        elif last_event_at - now > PARTED_MAX:
            self._at_start = (
                f"the last event lies {_rough(last_event_at - now)} in the future"
            )
        elif has_mail and now - last_event_at > IDLE_MAX:
            idle = _rough(now - last_event_at)
            self._at_start = f"mail is queued and the last event is {idle} old"
        self._judge()

    def compared(self, ahead: timedelta) -> None:
        """Note how far the system's clock is ahead of ours.

        When it is right again (a time service undid the jump) the suspicion ends.
        """
        self._ahead = ahead
        if abs(ahead) <= PARTED_MAX:
            self._settled_ahead = timedelta(0)
        self._judge()

    def settle(self) -> None:
        """Believe our time as it is, on a person's word."""
        self._at_start = ""
        self._settled_ahead = self._ahead
        self._judge()

    def _judge(self) -> None:
        parted = self._ahead - self._settled_ahead
        if abs(parted) > PARTED_MAX:
            way = "ahead of" if parted > timedelta(0) else "behind"
            self.suspicion = (
                f"the system's clock is {_rough(abs(parted))} {way} the node's"
            )
        else:
            self.suspicion = self._at_start


def _rough(span: timedelta) -> str:
    return str(timedelta(seconds=round(span.total_seconds())))


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
