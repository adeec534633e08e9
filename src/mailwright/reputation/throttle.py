"""★ Throttles: how many deliveries may leave in a time.

The rule is GCRA, the leaky bucket that keeps one number: the *theoretical arrival time*,
when the bucket would be full of tokens again. Times are whole nanoseconds, intervals are
rounded up, so a limit is never exceeded by rounding: in any ``t`` seconds at most
``burst + t × rate`` are granted.

A bucket also keeps who waits for it. Whoever was refused comes back at the time it was
told; until then and a moment longer a token that fell due for it is not given to those
who came later. Transactional mail goes before bulk and has a tenth of the burst for
itself.

Source: ITU-T I.371 annex A (GCRA); the virtual scheduling form.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from mailwright.clock import from_micros, to_micros
from mailwright.config.units import Rate
from mailwright.permit import PermitKeys

_SECOND_NS: Final = 1_000_000_000
_MICRO_NS: Final = 1_000
#: Nobody is told to come back sooner, or later, than this.
WAIT_MIN_NS: Final = _SECOND_NS // 1000
WAIT_MAX_NS: Final = 600 * _SECOND_NS
#: How long after its time a token is kept for whoever was told to come.
GRACE_NS: Final = 2 * _SECOND_NS
#: How many of those in front are looked at.
_LOOK: Final = 32


class Key(StrEnum):
    """What deliveries are counted by."""

    SOURCE = "source"
    PROVIDER = "provider"
    SITE = "site"
    DOMAIN = "domain"
    TENANT = "tenant"
    CAMPAIGN = "campaign"
    STREAM = "stream"
    CREDENTIAL = "credential"


#: Keys that differ between the lines of one lane.
OF_LINE: Final = frozenset(
    {Key.DOMAIN, Key.TENANT, Key.CAMPAIGN, Key.STREAM, Key.CREDENTIAL}
)


@dataclass(frozen=True, slots=True)
class Throttle:
    """A rate for each combination of keys.

    Attributes:
        per: each combination of these has a bucket of its own; empty: one for all.
        match: applies only where these keys have these values; empty: everywhere.
        title: for people, ``""`` for most.
        ident: names it while its rate changes; ``""``: its rate and keys do.
    """

    rate: Rate
    per: frozenset[Key]
    match: tuple[tuple[Key, str | int], ...] = ()
    title: str = ""
    ident: str = ""

    @property
    def interval_ns(self) -> int:
        """Nanoseconds from one to the next, rounded up."""
        return -(-self.rate.period_s * _SECOND_NS // self.rate.count)

    @property
    def reserve(self) -> int:
        """Tokens that only transactional mail may take: a tenth of a burst ≥ 2."""
        return max(1, self.rate.burst // 10) if self.rate.burst >= 2 else 0


class Meter:
    """A limit made ready: finds out whom it counts, and under which name.

    What has no value for one of the keys (mail of no campaign) is not counted.

    Args:
        spelling: of the limit, for people and as part of every name.
        per: each combination of these is counted apart.
        match: counts only where these keys have these values.
        ident: begins every name in place of the spelling, so that what was counted goes
            on counting when the limit changes.
        label: what refusals are counted by, in place of the spelling and keys.
    """

    __slots__ = (
        "_begin",
        "_match",
        "_names",
        "_parts",
        "is_of_line",
        "is_of_source",
        "label",
        "spelling",
    )

    def __init__(
        self,
        spelling: str,
        per: frozenset[Key],
        match: tuple[tuple[Key, str | int], ...] = (),
        ident: str = "",
        label: str = "",
    ) -> None:
        self.spelling = spelling
        self._begin = ident or spelling
        self._match = tuple((key.value, value) for key, value in match)
        counted = per | {key for key, _ in match}
        self.is_of_line = not OF_LINE.isdisjoint(counted)
        self.is_of_source = Key.SOURCE in counted
        self._names = tuple(key for key in Key if key in counted)
        # Plain texts: members of an enumeration are slow to write out.
        self._parts = tuple((key.value, f" {key.value}=") for key in self._names)
        #: Without values: what refusals are counted by.
        self.label = label or f"{spelling} per {', '.join(self._names) or 'node'}"

    def name(self, keys: PermitKeys, source: int | None) -> str | None:
        """Return under what ``keys`` are counted; ``None``: they are not.

        Stable over restarts.
        """
        for key, wanted in self._match:
            if _value(key, keys, source) != wanted:
                return None
        name = self._begin
        for key, part in self._parts:  # no value has a space in it
            value = source if key == "source" else getattr(keys, key)
            if value is None:
                return None
            name = f"{name}{part}{value}"
        return name

    def spoken(self, keys: PermitKeys, source_name: str) -> str:
        """Return what people are told: ``20/min of provider google``.

        Ids mean nothing to them, so a tenant, stream or credential is just "this".
        """
        scope = []
        for key in self._names:
            if key is Key.SOURCE:
                scope.append(f"source {source_name}")
            elif key in {Key.PROVIDER, Key.SITE, Key.DOMAIN}:
                scope.append(f"{key} {_value(key, keys, None)}")
            else:
                scope.append(f"this {key}")
        return f"{self.spelling} of {', '.join(scope) or 'all mail'}"


def _value(key: str, keys: PermitKeys, source: int | None) -> str | int | None:
    value: str | int | None = source if key == "source" else getattr(keys, key)
    return value


def to_ns(at: datetime) -> int:
    """Return ``at`` as nanoseconds since 1970 UTC."""
    return to_micros(at) * _MICRO_NS


def from_ns(ns: int) -> datetime:
    """Return the instant at or just after ``ns``."""
    return from_micros(-(-ns // _MICRO_NS))


class Bucket:
    """The tokens of one combination of keys, and who waits for them.

    Attributes:
        full_at: when it is, or was, full again; the one number that is kept.
        granted: tokens taken since the bucket was made; marks a grant in time.
    """

    __slots__ = (
        "_burst",
        "_interval",
        "_last_at",
        "_numbers",
        "_reserve",
        "_waiting",
        "full_at",
        "granted",
        "throttle",
    )

    def __init__(self, throttle: Throttle, full_at: int = 0) -> None:
        self.throttle = throttle
        self.full_at = full_at
        self.granted = 0
        self._interval = throttle.interval_ns
        self._burst = throttle.rate.burst
        self._reserve = throttle.reserve
        self._last_at = 0
        self._numbers = 0
        #: Transactional and bulk: who waits, with its number and when it will ask.
        self._waiting: tuple[dict[Hashable, list[int]], dict[Hashable, list[int]]] = (
            {},
            {},
        )

    def under(self, throttle: Throttle, now: int) -> "Bucket":
        """Return this bucket under another rate: what was used stays used.

        Whoever waits has to ask anew.
        """
        used = max(0, -(-(self.full_at - now) // self._interval))
        owed = min(used, throttle.rate.burst) * throttle.interval_ns
        return Bucket(throttle, now + owed if used else 0)

    def tokens(self, now: int) -> int:
        """Return how many may leave at ``now`` by the rate alone."""
        debt = self.full_at - now
        if debt <= 0:
            return self._burst
        return max(0, self._burst - -(-debt // self._interval))

    def room(self, asker: Hashable, now: int, *, is_bulk: bool) -> int:
        """Return how many ``asker`` may take now: 0 while it is others' turn."""
        tokens = self.tokens(now) - (self._reserve if is_bulk else 0)
        if tokens <= 0:
            return 0
        transactional, bulk = self._waiting
        if transactional:
            tokens -= _in_front(transactional, asker, now, tokens)
        if is_bulk and bulk and tokens > 0:
            tokens -= _in_front(bulk, asker, now, tokens)
        return max(tokens, 0)

    def take(self, asker: Hashable, now: int, count: int) -> None:
        """Debit ``count`` tokens, which must be there; ``asker`` waits no longer."""
        self.full_at = max(self.full_at, now) + count * self._interval
        self.granted += count
        self._last_at = now
        for waiting in self._waiting:
            waiting.pop(asker, None)

    def give_back(self, count: int, mark: int) -> None:
        """Return ``count`` tokens of the grant after which ``granted`` was ``mark``.

        Never leaves the bucket with more than it would have without that grant: what
        others took since may have used refill that the grant had put off.
        """
        since = self.granted - mark
        full_at = self.full_at - count * self._interval
        if since:
            full_at = max(full_at, self._last_at + since * self._interval)
        self.full_at = min(self.full_at, full_at)

    def wait(self, asker: Hashable, now: int, *, is_bulk: bool) -> int:
        """Let ``asker`` queue and return when to ask again, in turn with the others."""
        waiting = self._waiting[is_bulk]
        waiter = waiting.get(asker)
        if waiter is None:
            self._numbers += 1
            waiter = waiting[asker] = [self._numbers, 0]
        first = next(iter(waiting.values()))
        turn = waiter[0] - first[0] + (len(self._waiting[0]) if is_bulk else 0)
        at = self.ready_at(now, is_bulk=is_bulk) + turn * self._interval
        return min(max(at, now + WAIT_MIN_NS), now + WAIT_MAX_NS)

    def ready_at(self, now: int, *, is_bulk: bool) -> int:
        """Return when there is a token, were nobody else to take it."""
        needed = 1 + (self._reserve if is_bulk else 0)
        return max(now, self.full_at - (self._burst - needed) * self._interval)

    def expect(self, asker: Hashable, at: int) -> None:
        """Note that ``asker``, if it waits here, asks again at ``at``."""
        for waiting in self._waiting:
            waiter = waiting.get(asker)
            if waiter is not None:
                waiter[1] = at

    def is_forgettable(self, now: int) -> bool:
        """Return whether a new bucket would be the same."""
        if self.full_at > now:
            return False
        for waiting in self._waiting:
            _drop_absent(waiting, now)
        return not any(self._waiting)


def _in_front(
    waiting: dict[Hashable, list[int]], asker: Hashable, now: int, most: int
) -> int:
    """Return how many of ``waiting`` have their turn before ``asker``; at most ``most``."""
    _drop_absent(waiting, now)
    count = 0
    for looked, (waiter, (_, told)) in enumerate(waiting.items()):
        if waiter == asker or count >= most or looked >= _LOOK:
            break
        if told <= now:
            count += 1
    return count


def _drop_absent(waiting: dict[Hashable, list[int]], now: int) -> None:
    """Forget those in front who did not come when they were told to."""
    absent = []
    for waiter, (_, told) in waiting.items():
        if told + GRACE_NS >= now:
            break
        absent.append(waiter)
    for waiter in absent:
        del waiting[waiter]
