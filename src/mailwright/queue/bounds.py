"""How much the scheduler may have going on at once, and how much it has."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Bounds of the scheduler.

    Attributes:
        connections: open at once, for all lanes.
        lanes_max: lanes at once.
        retry: ladder for domains without a site, seconds.
        idle_s: how long a connection without mail is kept open.
    """

    connections: int
    lanes_max: int
    retry: tuple[float, ...]
    idle_s: float


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """A snapshot for people."""

    lines_due: int
    lanes: int
    connections: int
    lookups: int
