"""Counts of what happened to deliveries since the start: plain numbers for metrics.

Called for every delivery on the event loop, so a count is a dictionary's increment. What
tells counts apart is bounded: names of the settings and of closed lists, never a domain
or an address.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

from mailwright.events.types import EventType
from mailwright.ids import PoolId, SourceId

#: Kinds of counts that are told apart; what comes beyond loses its source and pool.
SERIES_MAX: Final = 20_000
#: From a complete submission to its durable commit, in seconds.
ACCEPT_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: From a connection's taking a delivery to its outcome, in seconds.
ATTEMPT_BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Counted(NamedTuple):
    """What a count is of. ``""`` and ``None`` where it does not apply."""

    event: EventType
    pool: PoolId | None
    provider: str
    source: SourceId | None
    category: str


class Histogram:
    """How many observations fell between bounds.

    Attributes:
        bounds: the upper ones, inclusive, rising.
        counts: one for each bound and one for what is above them all; not cumulative.
        total: sum of what was observed.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value`` in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> "Histogram":
        """Return what was counted so far."""
        copied = Histogram(self.bounds)
        copied.counts[:] = self.counts
        copied.total = self.total
        return copied


class Tally:
    """The counts of one node. Used on the event loop only; no lock, no clock.

    Attributes:
        events: how often each kind of event was committed.
        accepts: how long accepting took.
        attempts: how long attempts took, by provider.
    """

    def __init__(self) -> None:
        self.events: dict[Counted, int] = {}
        self.accepts = Histogram(ACCEPT_BOUNDS_S)
        self.attempts: dict[str, Histogram] = {}

    def count(
        self,
        event: EventType,
        pool: PoolId | None,
        provider: str = "",
        source: SourceId | None = None,
        category: str = "",
        times: int = 1,
    ) -> None:
        """Count an event whose commit was synced, or ``times`` of them."""
        key = Counted(event, pool, provider, source, category)
        counted = self.events.get(key)
        if counted is None and len(self.events) >= SERIES_MAX:
            key = Counted(event, None, provider, None, category)
            counted = self.events.get(key)
        self.events[key] = (counted or 0) + times

    def attempted(self, provider: str, seconds: float) -> None:
        """Count how long an attempt took."""
        histogram = self.attempts.get(provider)
        if histogram is None:
            histogram = self.attempts[provider] = Histogram(ATTEMPT_BOUNDS_S)
        histogram.observe(seconds)
