"""How much a credential may still submit, and from when on it may leave. Pure.

An hour is one of the clock (UTC): what does not fit into the hour that has begun is
accepted and leaves in the next hours that have room, spread evenly over each. A day is
one of the calendar (UTC).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
#: Nothing is paced further ahead: by then it is over the backlog of any reason.
HORIZON: Final = timedelta(days=30)
#: When to try again if the backlog is full; it shrinks with every delivery.
_BACKLOG_RETRY: Final = timedelta(minutes=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a credential may do; ``None``: as it likes. Recipients, at least one each.

    Attributes:
        hourly: leave in an hour.
        daily: accepted in a day.
        backlog: queued at once.
    """

    hourly: int | None = None
    daily: int | None = None
    backlog: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether there is nothing to count."""
        return self.hourly is None and self.daily is None and self.backlog is None


#: Of a credential without limits.
UNLIMITED: Final = Limits()


@dataclass(frozen=True, slots=True)
class Usage:
    """What was granted before.

    Attributes:
        hours: recipients by :func:`hour_of`.
        today: recipients accepted in the day that ``now`` is in.
        backlog: deliveries queued.
        full_until: hours before this one are known to have no room.
    """

    hours: Mapping[int, int] = field(default_factory=dict)
    today: int = 0
    backlog: int = 0
    full_until: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """Recipients that leave in one hour.

    Attributes:
        hour: as :func:`hour_of` counts.
        first: place of the first of them among all of this hour, from 0.
    """

    hour: int
    count: int
    first: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A submission that is taken; without slots nothing of it has to wait."""

    slots: tuple[Slot, ...] = ()


class Reason(Enum):
    """Why a submission is not taken; the text is for its submitter."""

    TOO_LARGE = "more recipients than this credential may ever have at once"
    DAILY = "the daily quota of this credential is used up, try again tomorrow (UTC)"
    BACKLOG = "this credential has as much mail queued as it may, try again later"
    HORIZON = "the hourly limit of this credential is used up for too long ahead"


@dataclass(frozen=True, slots=True)
class Excess:
    """A submission that is not taken.

    Attributes:
        retry_at: when it may be; ``None``: never, as it is.
    """

    reason: Reason
    retry_at: datetime | None


def hour_of(at: datetime) -> int:
    """Return the number of the hour that ``at`` (aware) is in."""
    return (at - _EPOCH) // HOUR


def start_of(hour: int) -> datetime:
    """Return when the hour with this number begins."""
    return _EPOCH + hour * HOUR


def day_of(at: datetime) -> int:
    """Return the number of the day (UTC) that ``at`` (aware) is in."""
    return (at - _EPOCH) // DAY


def grant(
    limits: Limits,
    usage: Usage,
    want: int,
    *,
    now: datetime,
    start: datetime,
    end: datetime | None = None,
) -> Grant | Excess:
    """Return whether ``want`` recipients are taken, and in which hours they leave.

    Args:
        limits: of the credential.
        usage: of the credential.
        want: recipients of one submission; taken all or none.
        now: the instant of acceptance.
        start: none leaves before; not before ``now``.
        end: what has not left by then is given up.
    """
    ceilings = [each for each in (limits.daily, limits.backlog) if each is not None]
    if any(want > each for each in ceilings):
        return Excess(Reason.TOO_LARGE, None)
    if limits.daily is not None and usage.today + want > limits.daily:
        return Excess(Reason.DAILY, _EPOCH + (day_of(now) + 1) * DAY)
    if limits.backlog is not None and usage.backlog + want > limits.backlog:
        return Excess(Reason.BACKLOG, now + _BACKLOG_RETRY)
    if limits.hourly is None:
        return Grant()
    slots = _slots(limits.hourly, usage, want, start)
    latest = min(now + HORIZON, end) if end is not None else now + HORIZON
    if start_of(slots[-1].hour) > max(latest, start):
        return Excess(Reason.HORIZON, start_of(hour_of(now) + 1))
    return Grant(slots)


def leaves_at(slot: Slot, number: int, hourly: int, start: datetime) -> datetime:
    """Return when recipient ``number`` (from 0) of ``slot`` may leave.

    At ``start`` when that is in the slot's hour, which has room; else at its share of
    the hour, so that a full one is spread evenly.
    """
    if hour_of(start) >= slot.hour:
        return start
    return start_of(slot.hour) + HOUR * (slot.first + number) / hourly


def _slots(hourly: int, usage: Usage, want: int, start: datetime) -> tuple[Slot, ...]:
    slots = []
    hour = max(hour_of(start), usage.full_until)
    while want > 0:
        used = usage.hours.get(hour, 0)
        count = min(want, hourly - used)
        if count > 0:
            slots.append(Slot(hour, count, used))
            want -= count
        hour += 1
    return tuple(slots)
