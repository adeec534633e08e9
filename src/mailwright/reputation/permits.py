"""Permits: how many deliveries may leave now, and from which source.

Two questions. :meth:`Permits.connect`, before a connection: from which source? Sources of
a pool share its mail by weight, counted in deliveries; one that is exhausted is passed
over, and when all are, the overflow pool's are asked. A caller that names a source gets
that one or waits for it (greylisting knows the source of the first attempt).
:meth:`Permits.permit`, for each batch: how many? Every limit that counts the deliveries
has to agree, and only then each is debited; what is not used goes back.

Whoever is refused learns until when and why, and keeps its turn at the limit in question.
Decides in memory: no clock, no I/O.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from mailwright.accounts.directory import Pool, Source
from mailwright.ids import PoolId, SourceId
from mailwright.permit import Permit, PermitKeys, Stop
from mailwright.reputation.buckets import BUCKETS_MAX, Buckets
from mailwright.reputation.growth import Growth
from mailwright.reputation.ledger import Ledgers
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.throttle import Bucket, Meter, from_ns, to_ns
from mailwright.reputation.turns import SourceTurns
from mailwright.site import Profile

#: When to ask again for a pool that has nothing to send from: a person has to act.
NO_SOURCE_WAIT: Final = timedelta(minutes=1)
#: When to ask again for a connection that others have.
CONNECTIONS_WAIT: Final = timedelta(seconds=1)
#: When to ask again after memory was used up.
MEMORY_WAIT: Final = timedelta(minutes=1)
#: When to ask again for a day's allowance that begins late: the clock is suspect.
SUSPECT_WAIT: Final = timedelta(minutes=1)
#: When to ask again while a reservation is committed.
RESERVING_WAIT: Final = timedelta(milliseconds=50)


class _Metered(NamedTuple):
    """A bucket that counts what is asked for, and by whose name it is asked."""

    meter: Meter
    bucket: Bucket
    asker: Hashable


class _Dated(NamedTuple):
    """A ledger that counts what is asked for."""

    meter: Meter
    name: str
    allowance: int


class _Refusal(NamedTuple):
    """Who refused, until when."""

    until: datetime
    meter: Meter | None
    reason: str
    stop: Stop


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What was debited: buckets with their mark, and ledgers of a day."""

    buckets: tuple[tuple[Bucket, int], ...]
    day: date
    ledgers: tuple[str, ...]


class State(NamedTuple):
    """What permits remember; saved and restored by whoever drives them."""

    buckets: Buckets
    ledgers: Ledgers
    growth: Growth
    #: How often each limit refused, by the limit's label; for metrics.
    refusals: Counter[str]


class Permits:
    """Answers from the limits, the buckets and ledgers, and the pools.

    Args:
        pools: returns the pools as they are now; called at each question.
        limits: what applies to deliveries under a profile.
        is_suspect: whether the clock is; no new day's allowance begins meanwhile.
    """

    def __init__(
        self,
        pools: Callable[[], Mapping[PoolId, Pool]],
        state: State,
        limits: LimitBook | None = None,
        is_suspect: Callable[[], bool] = lambda: False,
    ) -> None:
        self._turns = SourceTurns(pools)
        self._state = state
        self._limits = limits or LimitBook()
        self._is_suspect = is_suspect

    def has_source(self, pool: PoolId, source: SourceId) -> bool:
        """Return whether mail of ``pool`` may leave from ``source`` at all."""
        return self._turns.member(pool, source) is not None

    def connect(
        self,
        keys: PermitKeys,
        profile: Profile,
        now: datetime,
        source: SourceId | None = None,
    ) -> Permit:
        """Return from which source a connection may be opened for ``keys``.

        ``source`` asks for that one alone. ``granted`` is 1 and no token is debited yet;
        the connection counts until :meth:`disconnected`.
        """
        refusals = []
        for pool, candidate in self._turns.candidates(keys.pool):
            if source is not None and candidate.id != source:
                continue
            refusal = self._refusal(keys, profile, now, candidate)
            if refusal is None:
                self._turns.charge(pool, candidate.id, 1)
                self._state.growth.opened(*_groups(keys, candidate.id))
                return Permit(candidate.id, 1)
            refusals.append((refusal, candidate))
        if not refusals:
            reason = (
                "the pool has no source"
                if source is None
                else "the source of the first attempt has left the pool"
            )
            stop = Stop.LANE if source is None else Stop.SOURCE
            return Permit(None, 0, now + NO_SOURCE_WAIT, reason, stop)
        refusal, candidate = min(refusals, key=lambda each: each[0].until)
        refusal = self._queue_up(keys, profile, now, candidate) or refusal
        stop = refusal.stop
        if source is None and stop is Stop.SOURCE:
            stop = Stop.LANE  # every source was asked
        return Permit(None, 0, refusal.until, refusal.reason, stop)

    def connected(self, keys: PermitKeys, profile: Profile, source: SourceId) -> None:
        """Note that a connection stands and asks for mail: one more may be tried."""
        self._state.growth.succeeded((source, keys.site), profile.connections)

    def disconnected(
        self,
        keys: PermitKeys,
        profile: Profile,
        source: SourceId,
        *,
        has_failed: bool,
    ) -> None:
        """Note that a connection is over; ``has_failed``: no mail got anywhere on it."""
        if has_failed:
            self._state.growth.failed((source, keys.site), profile.connections)
        self._state.growth.closed(*_groups(keys, source))

    def permit(
        self,
        keys: PermitKeys,
        profile: Profile,
        now: datetime,
        want: int,
        source: SourceId,
    ) -> Permit:
        """Answer for ``want`` (≥ 1) deliveries from ``source``, and debit them.

        Every bucket and ledger that counts them gives all that is granted, or none
        gives any.
        """
        found = self._turns.member(keys.pool, source)
        if found is None:
            return Permit(None, 0, now, "the source has left the pool", Stop.SOURCE)
        pool, member = found
        at = to_ns(now)
        metered, dated = self._counting(keys, profile, source, at)
        if metered is None:
            return _no_memory(now)
        if dated:
            self._state.ledgers.advance(now, is_suspect=self._is_suspect())
        if not metered and not dated:
            self._turns.charge(pool, source, want)
            return Permit(source, want)
        granted = want
        least: Meter | None = None
        is_refused = False
        for meter, bucket, asker in metered:
            room = bucket.room(asker, at, is_bulk=keys.is_bulk)
            is_refused = is_refused or room <= 0
            if room < granted:
                granted, least = room, meter
        for meter, name, allowance in dated:
            room = self._state.ledgers.room(name, allowance)
            is_refused = is_refused or room <= 0
            if room < granted:
                granted, least = room, meter
        if is_refused:
            refusal = self._refuse(keys, now, at, member, metered, dated)
            return Permit(None, 0, refusal.until, refusal.reason, refusal.stop)
        receipt = self._debit(metered, dated, at, granted)
        self._turns.charge(pool, source, granted)
        if least is None:
            return Permit(source, granted, receipt=receipt)
        reason = least.spoken(keys, member.name)
        return Permit(source, granted, now, reason, _stop_of(least), receipt)

    def give_back(self, permit: Permit, count: int) -> None:
        """Return ``count`` of what ``permit`` granted: they did not leave.

        May be called more than once for a permit, with what became clear since.
        """
        receipt = permit.receipt
        if count <= 0 or not isinstance(receipt, _Receipt):
            return
        for bucket, mark in receipt.buckets:
            bucket.give_back(count, mark)
        for name in receipt.ledgers:
            self._state.ledgers.give_back(receipt.day, name, count)

    def _debit(
        self, metered: list[_Metered], dated: list[_Dated], at: int, count: int
    ) -> _Receipt:
        marks = []
        for _, bucket, asker in metered:
            bucket.take(asker, at, count)
            marks.append((bucket, bucket.granted))
        ledgers = self._state.ledgers
        for _, name, _ in dated:
            ledgers.take(name, count)
        return _Receipt(tuple(marks), ledgers.day, tuple(each.name for each in dated))

    def _counting(
        self, keys: PermitKeys, profile: Profile, source: SourceId, at: int
    ) -> tuple[list[_Metered] | None, list[_Dated]]:
        """Return the buckets and ledgers that count; ``None``: no memory for a bucket."""
        limits = self._limits.limits(profile)
        throttled = limits.throttled
        if keys.pace_per_hour is not None:
            throttled = (*throttled, self._limits.pacing(keys.pace_per_hour))
        metered = []
        for meter, throttle in throttled:
            name = meter.name(keys, source)
            if name is None:
                continue
            bucket = self._state.buckets.get(name, throttle, at)
            if bucket is None:
                return None, []
            asker = keys.line if meter.is_of_line else (keys.site, keys.pool)
            metered.append(_Metered(meter, bucket, asker))
        dated = []
        for meter, allowance in limits.daily:
            name = meter.name(keys, source)
            if name is not None:
                dated.append(_Dated(meter, name, allowance))
        return metered, dated

    def _refusal(
        self, keys: PermitKeys, profile: Profile, now: datetime, source: Source
    ) -> _Refusal | None:
        """Return what forbids a connection from ``source`` now; nobody is queued."""
        crowded = self._crowded(keys, profile, source)
        if crowded:
            return _Refusal(now + CONNECTIONS_WAIT, None, crowded, Stop.SOURCE)
        at = to_ns(now)
        metered, dated = self._counting(keys, profile, source.id, at)
        if metered is None:
            refused = _no_memory(now)
            return _Refusal(now + MEMORY_WAIT, None, refused.reason, Stop.LANE)
        worst: _Refusal | None = None
        for meter, bucket, asker in metered:
            if bucket.room(asker, at, is_bulk=keys.is_bulk) <= 0:
                ready = from_ns(bucket.ready_at(at, is_bulk=keys.is_bulk))
                if worst is None or ready > worst.until:
                    worst = _Refusal(ready, meter, "", _stop_of(meter))
        if dated:
            self._state.ledgers.advance(now, is_suspect=self._is_suspect())
        for each in dated:
            if self._state.ledgers.room(each.name, each.allowance) <= 0:
                refusal = self._used_up(each, now)
                if worst is None or refusal.until > worst.until:
                    worst = refusal
        return worst

    def _queue_up(
        self, keys: PermitKeys, profile: Profile, now: datetime, source: Source
    ) -> _Refusal | None:
        """Wait at ``source``, which refused; return its last word."""
        if self._crowded(keys, profile, source):
            return None
        at = to_ns(now)
        metered, dated = self._counting(keys, profile, source.id, at)
        if metered is None:
            return None
        return self._refuse(keys, now, at, source, metered, dated)

    def _refuse(
        self,
        keys: PermitKeys,
        now: datetime,
        at: int,
        source: Source,
        metered: list[_Metered],
        dated: list[_Dated],
    ) -> _Refusal:
        """Let the caller wait wherever it was refused; return the longest wait."""
        until_ns, worst = at, _Refusal(now, None, "", Stop.LANE)
        stops = set()
        for meter, bucket, asker in metered:
            if bucket.room(asker, at, is_bulk=keys.is_bulk) > 0:
                continue
            self._state.refusals[meter.label] += 1
            stops.add(_stop_of(meter))
            turn = bucket.wait(asker, at, is_bulk=keys.is_bulk)
            if turn > until_ns:
                until_ns = turn
                reason = meter.spoken(keys, source.name)
                worst = _Refusal(from_ns(turn), meter, reason, _stop_of(meter))
        for each in dated:
            if self._state.ledgers.room(each.name, each.allowance) > 0:
                continue
            self._state.refusals[each.meter.label] += 1
            stops.add(_stop_of(each.meter))
            refusal = self._used_up(each, now)
            if refusal.until > worst.until:
                reason = refusal.reason or each.meter.spoken(keys, source.name)
                worst = refusal._replace(reason=reason)
        told = to_ns(worst.until)
        for _, bucket, asker in metered:
            bucket.expect(asker, told)
        stop = next(
            (each for each in Stop if each in stops), Stop.LANE
        )  # the narrowest
        return worst._replace(stop=stop)

    def _used_up(self, each: _Dated, now: datetime) -> _Refusal:
        ledgers = self._state.ledgers
        stop = _stop_of(each.meter)
        if ledgers.is_used_up(each.name, each.allowance):
            return _Refusal(
                max(ledgers.ends_at(), now + SUSPECT_WAIT), each.meter, "", stop
            )
        reason = "the next part of the day's allowance is being reserved"
        return _Refusal(now + RESERVING_WAIT, each.meter, reason, stop)

    def _crowded(self, keys: PermitKeys, profile: Profile, source: Source) -> str:
        """Return which limit on connections is reached, for people, or ``""``."""
        growth = self._state.growth
        to_site, from_source, overall = _groups(keys, source.id)
        allowed = growth.allowed(to_site, profile.connections)
        if growth.open_to(to_site) >= allowed:
            return f"{allowed} connections of source {source.name} are open to the site"
        for group, limit in (
            (from_source, profile.per_source.connections),
            (overall, profile.overall.connections),
        ):
            if limit is not None and growth.open_to(group) >= limit:
                return f"{limit} connections are open to provider {keys.provider}"
        return ""


def _stop_of(meter: Meter) -> Stop:
    if meter.is_of_line:
        return Stop.LINE
    return Stop.SOURCE if meter.is_of_source else Stop.LANE


def _groups(keys: PermitKeys, source: SourceId) -> tuple[Hashable, Hashable, Hashable]:
    """Return what a connection counts for: (source, site), source, and overall."""
    return (
        (source, keys.site),
        (source, "at", keys.provider),
        ("to", keys.provider),
    )


def _no_memory(now: datetime) -> Permit:
    reason = f"more than {BUCKETS_MAX} throttles are in use at once"
    return Permit(None, 0, now + MEMORY_WAIT, reason)
