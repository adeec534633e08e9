"""★ Delivery windows: on which days, from when to when, a campaign may leave.

A window speaks of the time that clocks on the wall show: it is open at an instant if the
local day and time of that instant are in one of its ranges. So where clocks are put
forward, a range that begins in the hour that is left out begins when that hour would
have ended; where they are put back, both passes of the repeated hour count. Nothing
leaves at a local time that was not asked for.

Values and instants in, values and instants out; zones come from the system's database.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from typing_extensions import override

from mailwright.errors import MailwrightError

#: Their names, Monday first, as :meth:`datetime.date.weekday` counts them.
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RANGES_MAX: Final = 50
#: How far ahead an opening is looked for: a week, and another for a range that begins
#: and ends in an hour that clocks leave out.
LOOK_AHEAD: Final = timedelta(days=15)

_DAY_MINUTES: Final = 24 * 60
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_TIME: Final = re.compile(r"([0-9]{2}):([0-5][0-9])")
#: In days: most windows change within the first, and the rest need not be looked at.
_REACHES: Final = (2, LOOK_AHEAD.days)


class WindowError(MailwrightError):
    """A window is not spelled as it must be: ``field`` says where, ``reason`` how."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Range(NamedTuple):
    """Some days, from one time of the day up to another.

    Attributes:
        days: on which it begins, Monday being 0.
        start: in minutes since midnight, 0 to 1439.
        end: likewise, 1 to 1440, not in it any more; not after ``start``: on the day
            after.
    """

    days: frozenset[int]
    start: int
    end: int

    def has(self, weekday: int, minute: int) -> bool:
        """Whether it is open at that minute of a ``weekday``."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        begun = weekday in self.days and minute >= self.start
        return begun or ((weekday - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Window:
    """When a campaign may leave.

    Attributes:
        timezone: IANA name; of those who are not known to live in another.
        is_recipients: whether a recipient's own zone counts where it is known.
        ranges: at least one.
    """

    timezone: str
    is_recipients: bool
    ranges: tuple[Range, ...]

    def zone_for(self, timezone: str) -> str:
        """Return the zone that counts for recipients in ``timezone``; "": unknown."""
        if self.is_recipients and timezone and zone_of(timezone) is not None:
            return timezone
        return self.timezone

    def is_open(self, now: datetime, timezone: str = "") -> bool:
        """Whether mail to recipients in ``timezone`` may leave at ``now``."""
        return self._has(now, _zone(self.zone_for(timezone)))

    def opens_at(self, now: datetime, timezone: str = "") -> datetime:
        """Return the first instant from ``now`` on at which it is open.

        After :data:`LOOK_AHEAD` if there is none before: look again then.
        """
        if self.is_open(now, timezone):
            return now
        return self.changes_at(now, timezone)

    def changes_at(self, now: datetime, timezone: str = "") -> datetime:
        """Return the first instant after ``now`` at which it opens, or closes.

        After :data:`LOOK_AHEAD` if there is none before: look again then.
        """
        zone = _zone(self.zone_for(timezone))
        now = now.astimezone(UTC)
        was_open = self._has(now, zone)
        today = now.astimezone(zone).date()
        for reach in _REACHES:
            for at in sorted(set(self._edges(today, reach, zone))):
                is_known = at <= now + reach * _DAY - _DAY
                if at > now and is_known and self._has(at, zone) is not was_open:
                    return at
        return now + LOOK_AHEAD

    def _has(self, at: datetime, zone: ZoneInfo) -> bool:
        local = at.astimezone(zone)
        weekday, minute = local.weekday(), local.hour * 60 + local.minute
        return any(each.has(weekday, minute) for each in self.ranges)

    def _edges(self, today: date, reach: int, zone: ZoneInfo) -> Iterator[datetime]:
        """Yield every instant from today on at which it may open or close.

        Up to ``reach`` days ahead; those of the last may not be all.
        """
        yield from _offset_changes(today, zone)
        for ahead in range(-1, reach + 1):
            day = today + ahead * _DAY
            for each in self.ranges:
                if day.weekday() in each.days:
                    end = day if each.start < each.end else day + _DAY
                    yield from _instants(day, each.start, zone)
                    yield from _instants(end, each.end, zone)

    def to_json(self) -> dict[str, object]:
        """Return what :func:`parse_window` reads back."""
        return {
            "timezone": self.timezone,
            "recipient_timezone": self.is_recipients,
            "ranges": [
                {
                    "days": [DAYS[day] for day in sorted(each.days)],
                    "from": _spelled(each.start),
                    "to": _spelled(each.end),
                }
                for each in self.ranges
            ],
        }

    @override
    def __str__(self) -> str:
        ranges = ", ".join(map(_said, self.ranges))
        whose = ", or the recipient's own" if self.is_recipients else ""
        return f"{ranges} ({self.timezone}{whose})"


@lru_cache(maxsize=1024)
def zone_of(timezone: str) -> ZoneInfo | None:
    """Return a zone by its IANA name, ``None`` if there is none of that name.

    Reads a small file the first time that a zone is asked for.
    """
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def parse_window(given: object) -> Window:
    """Return the window that a JSON object spells.

    ``{"timezone": "Europe/Berlin", "recipient_timezone": true, "ranges": [{"days":
    ["mon"], "from": "09:00", "to": "18:00"}]}``. ``days`` left out are all; ``to`` may
    be ``24:00``, and is on the day after where it is not later than ``from``.

    Raises:
        WindowError: it does not.
    """
    if not isinstance(given, Mapping):
        raise WindowError("window", "must be an object")
    known = {"timezone", "recipient_timezone", "ranges"}
    for name in given:
        if name not in known:
            raise WindowError(f"window.{name}", "is not known")
    timezone = given.get("timezone", "UTC")
    if not isinstance(timezone, str) or zone_of(timezone) is None:
        raise WindowError("window.timezone", "is no zone of the IANA database")
    is_recipients = given.get("recipient_timezone", False)
    if not isinstance(is_recipients, bool):
        raise WindowError("window.recipient_timezone", "must be true or false")
    ranges = given.get("ranges")
    if not isinstance(ranges, list | tuple) or not 1 <= len(ranges) <= RANGES_MAX:
        raise WindowError("window.ranges", f"must be a list of 1 to {RANGES_MAX}")
    parsed = (
        _parse_range(each, f"window.ranges[{number}]")
        for number, each in enumerate(ranges)
    )
    return Window(timezone, is_recipients, tuple(parsed))


def _parse_range(given: object, field: str) -> Range:
    if not isinstance(given, Mapping):
        raise WindowError(field, "must be an object")
    for name in given:
        if name not in {"days", "from", "to"}:
            raise WindowError(f"{field}.{name}", "is not known")
    days = given.get("days", DAYS)
    if not isinstance(days, list | tuple) or not days:
        raise WindowError(f"{field}.days", "must be a list of days")
    for day in days:
        if day not in DAYS:
            raise WindowError(f"{field}.days", f"must be of {', '.join(DAYS)}")
    start = _minute(given.get("from"), f"{field}.from", _DAY_MINUTES - 1)
    end = _minute(given.get("to"), f"{field}.to", _DAY_MINUTES)
    # Midnight at the end of a day has two spellings; 00:00 to 00:00 is a whole day.
    return Range(frozenset(map(DAYS.index, days)), start, end or _DAY_MINUTES)


def _minute(given: object, field: str, most: int) -> int:
    found = _TIME.fullmatch(given) if isinstance(given, str) else None
    minute = _DAY_MINUTES + 1 if found is None else int(found[1]) * 60 + int(found[2])
    if minute > most:
        raise WindowError(field, "must be a time, HH:MM")
    return minute


def _spelled(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _said(each: Range) -> str:
    days = " ".join(DAYS[day] for day in sorted(each.days))
    when = f"{_spelled(each.start)}-{_spelled(each.end)}"
    return when if len(each.days) == len(DAYS) else f"{days} {when}"


def _zone(timezone: str) -> ZoneInfo:
    zone = zone_of(timezone)
    return ZoneInfo("UTC") if zone is None else zone


def _instants(day: date, minute: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield when clocks in ``zone`` show that minute; twice where it comes twice."""
    day += _DAY * (minute // _DAY_MINUTES)
    minute %= _DAY_MINUTES
    for fold in (0, 1):
        at = time(minute // 60, minute % 60, tzinfo=zone, fold=fold)
        yield datetime.combine(day, at).astimezone(UTC)


@lru_cache(maxsize=1024)
def _offset_changes(today: date, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Return the instants from today on at which clocks are put on or back."""
    found = []
    begin = datetime.combine(today, time(), tzinfo=UTC) - _DAY
    for ahead in range(LOOK_AHEAD.days + 3):
        before, after = begin + ahead * _DAY, begin + (ahead + 1) * _DAY
        offset = before.astimezone(zone).utcoffset()
        if after.astimezone(zone).utcoffset() == offset:
            continue
        while after - before > _SECOND:
            middle = before + (after - before) / 2
            if middle.astimezone(zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        found.append(after.replace(microsecond=0))  # offsets change on whole seconds
    return tuple(found)
