"""★ Ledgers: how much of a day's allowance is used.

An allowance is reserved in blocks of at most a fiftieth, and a block is committed before
anything of it is used. A crash therefore never gives an allowance twice; it costs at
most what was reserved and not used yet. What an attempt did not use goes back.

Days are UTC. A ledger's day never goes back, and while the clock is not to be trusted it
does not advance either: a clock that is set brings no second allowance.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from mailwright.reputation.throttle import Key

#: A block is the allowance divided by this, at least 1.
BLOCKS: Final = 50


@dataclass(frozen=True, slots=True)
class DailyLimit:
    """So many deliveries a day for each combination of keys.

    Attributes:
        per: each combination of these is counted apart; empty: everything together.
        match: applies only where these keys have these values; empty: everywhere.
        title: for people, ``""`` for most.
        ident: names its ledgers while the allowance changes; ``""``: both do.
    """

    allowance: int
    per: frozenset[Key]
    match: tuple[tuple[Key, str | int], ...] = ()
    title: str = ""
    ident: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What has to be committed: so much of the day counts as used."""

    day: date
    key: str
    reserved: int


@dataclass(slots=True)
class _Entry:
    used: int = 0
    reserved: int = 0
    asked: int = 0  # what a commit under way reserves


class Ledgers:
    """The ledgers of one day.

    Attributes:
        day: the one that is counted.
        commit: is handed what to make durable, and answers with :meth:`committed` or
            :meth:`not_committed`, at once or later.
    """

    def __init__(self, day: date, commit: Callable[[Reservation], None]) -> None:
        self.day = day
        self.commit = commit
        self._entries: dict[str, _Entry] = {}

    def restore(self, rows: Iterable[tuple[str, int]]) -> None:
        """Take over what is committed for this day; all of it counts as used."""
        for key, reserved in rows:
            self._entries[key] = _Entry(reserved, reserved, reserved)

    def advance(self, now: datetime, *, is_suspect: bool) -> None:
        """Begin the day of ``now``, unless it is not later or cannot be believed."""
        today = now.astimezone(UTC).date()
        if today > self.day and not is_suspect:
            self.day = today
            self._entries.clear()

    def room(self, key: str, allowance: int) -> int:
        """Return how many may leave; has another block committed in time."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        block = max(1, allowance // BLOCKS)
        left = entry.reserved - entry.used
        if left <= block // 2 and entry.asked <= entry.reserved < allowance:
            entry.asked = min(entry.reserved + block, allowance)
            self.commit(Reservation(self.day, key, entry.asked))
        return max(0, min(entry.reserved, allowance) - entry.used)

    def is_used_up(self, key: str, allowance: int) -> bool:
        """Return whether the day's allowance is used, all of it."""
        entry = self._entries.get(key)
        return entry is not None and entry.used >= allowance

    def take(self, key: str, count: int) -> None:
        """Use ``count`` of what there is room for."""
        self._entries[key].used += count

    def give_back(self, day: date, key: str, count: int) -> None:
        """Return ``count`` that were taken on ``day`` and not used."""
        entry = self._entries.get(key)
        if day == self.day and entry is not None:
            entry.used = max(0, entry.used - count)

    def committed(self, reservation: Reservation) -> None:
        """Note that ``reservation`` is durable."""
        entry = self._entries.get(reservation.key)
        if reservation.day == self.day and entry is not None:
            entry.reserved = max(entry.reserved, reservation.reserved)

    def not_committed(self, reservation: Reservation) -> None:
        """Note that the store refused ``reservation``: it is asked for anew."""
        entry = self._entries.get(reservation.key)
        if reservation.day == self.day and entry is not None:
            entry.asked = entry.reserved

    def unused(self) -> Iterator[Reservation]:
        """Yield what to commit at an orderly stop: what is reserved is given back."""
        for key, entry in self._entries.items():
            if entry.used < max(entry.reserved, entry.asked):
                yield Reservation(self.day, key, entry.used)

    def ends_at(self) -> datetime:
        """Return when the next day begins."""
        return datetime.combine(self.day, time(), UTC) + timedelta(days=1)
