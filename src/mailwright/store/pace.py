"""When the next turn begins: a pure rule.

A turn costs a commit, two hand-overs of the interpreter lock and the pages that all its
units share, whether it holds one unit or fifty. On an idle node a unit begins at once;
when units come by the thousand a second, a few milliseconds between turns let more of
them share one (measured: a fifth less processor time for a relayed message).
"""

from typing import Final

#: Units a second from which turns are spaced. A single client that waits for each answer
#: stays below it, so that nothing delays it.
BUSY_UNITS: Final = 1_000.0
#: How long a busy store rests between two turns.
REST_S: Final = 0.005
#: With so many waiting there is nothing to wait for.
ENOUGH_UNITS: Final = 64
_SMOOTHED_OVER_S: Final = 0.25


class TurnPace:
    """Watches how many units come."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._ended_at = 0.0

    def ended(self, units: int, now: float) -> None:
        """Learn that a turn of ``units`` ended at ``now`` (steady seconds)."""
        since = max(now - self._ended_at, 1e-6)
        weight = min(1.0, since / _SMOOTHED_OVER_S)
        self._rate += (units / since - self._rate) * weight
        self._ended_at = now

    def rest_s(self, waiting: int, now: float) -> float:
        """Return for how long the next turn should wait for more than ``waiting``."""
        if self._rate < BUSY_UNITS or waiting >= ENOUGH_UNITS:
            return 0.0
        return max(0.0, self._ended_at + REST_S - now)
