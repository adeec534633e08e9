"""Which limits count a delivery: those of its provider's profile and those of the node.

Limits are read often and change rarely, so each profile's are made ready once.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mailwright.accounts.directory import ThrottleRule
from mailwright.config.limit import PerDay, parse_limit
from mailwright.config.units import Rate, parse_rate
from mailwright.reputation.ledger import DailyLimit
from mailwright.reputation.throttle import Key, Meter, Throttle
from mailwright.site import Profile

#: Profiles that are kept ready.
_PROFILES_MAX: Final = 1024

#: Paces that are kept ready.
_PACES_MAX: Final = 1024
_HOUR_S: Final = 3600

_CAMPAIGN: Final = frozenset({Key.CAMPAIGN})
_SITE: Final = frozenset({Key.SOURCE, Key.SITE})
_SOURCE: Final = frozenset({Key.SOURCE, Key.PROVIDER})
_OVERALL: Final = frozenset({Key.PROVIDER})


class Throttled(NamedTuple):
    """A throttle made ready."""

    meter: Meter
    throttle: Throttle


class Daily(NamedTuple):
    """A daily limit made ready."""

    meter: Meter
    allowance: int


class Limits(NamedTuple):
    """All that may apply to deliveries under one profile."""

    throttled: tuple[Throttled, ...]
    daily: tuple[Daily, ...]


class LimitBook:
    """Knows the limits under each profile.

    Args:
        throttles: returns the node's own throttles; another sequence when they changed.
        daily: returns the daily limits, likewise.
    """

    def __init__(
        self,
        throttles: Callable[[], Sequence[Throttle]] = tuple,
        daily: Callable[[], Sequence[DailyLimit]] = tuple,
    ) -> None:
        self._throttles = throttles
        self._daily = daily
        self._seen: tuple[Sequence[Throttle], Sequence[DailyLimit]] = ((), ())
        self._ready: dict[Profile, Limits] = {}
        #: The same by identity: comparing profiles costs more than the answer.
        self._by_id: dict[int, tuple[Profile, Limits]] = {}
        self._paces: dict[int, Throttled] = {}

    def limits(self, profile: Profile) -> Limits:
        """Return what may apply to deliveries under ``profile``."""
        throttles, daily = self._throttles(), self._daily()
        if throttles is not self._seen[0] or daily is not self._seen[1]:
            self._seen = (throttles, daily)
            self._ready.clear()
            self._by_id.clear()
        known = self._by_id.get(id(profile))
        if known is not None and known[0] is profile:
            return known[1]
        limits = self._ready.get(profile)
        if limits is None:
            limits = self._make_ready(profile)
            if len(self._ready) >= _PROFILES_MAX:
                self._ready.clear()
            self._ready[profile] = limits
        if len(self._by_id) >= _PROFILES_MAX:
            self._by_id.clear()
        self._by_id[id(profile)] = (profile, limits)
        return limits

    def pacing(self, per_hour: int) -> Throttled:
        """Return the throttle that spreads ``per_hour`` of a campaign over the hour.

        At once there is a second's worth, or one. What was counted goes on counting
        under another pace: its name does not say which.
        """
        paced = self._paces.get(per_hour)
        if paced is None:
            rate = Rate(per_hour, _HOUR_S, max(1, per_hour // _HOUR_S))
            meter = Meter(
                f"pacing {rate}", _CAMPAIGN, ident="pace", label="pacing per campaign"
            )
            if len(self._paces) >= _PACES_MAX:
                self._paces.clear()
            paced = self._paces[per_hour] = Throttled(meter, Throttle(rate, _CAMPAIGN))
        return paced

    def _make_ready(self, profile: Profile) -> Limits:
        throttles, daily = self._seen
        return Limits(
            tuple(
                Throttled(_meter("throttle", str(each.rate), each), each)
                for each in (*throttles_of(profile), *throttles)
            ),
            tuple(
                Daily(
                    _meter("allowance", f"{each.allowance}/day", each), each.allowance
                )
                for each in daily
            ),
        )


def _meter(kind: str, amount: str, limit: Throttle | DailyLimit) -> Meter:
    spelling = f"{kind} {limit.title} ({amount})" if limit.title else f"{kind} {amount}"
    return Meter(spelling, limit.per, limit.match, limit.ident)


class SharedLimits:
    """The limits of the shared settings, as rules work with them.

    Args:
        rules: returns those in force; equal ones are made ready once.
    """

    def __init__(self, rules: Callable[[], Sequence[ThrottleRule]]) -> None:
        self._rules = rules
        self._known: Sequence[ThrottleRule] = ()
        self._throttles: tuple[Throttle, ...] = ()
        self._daily: tuple[DailyLimit, ...] = ()

    def throttles(self) -> Sequence[Throttle]:
        """Return the rates; the same sequence until they change."""
        self._look()
        return self._throttles

    def daily(self) -> Sequence[DailyLimit]:
        """Return the allowances per day; the same sequence until they change."""
        self._look()
        return self._daily

    def _look(self) -> None:
        rules = self._rules()
        if rules is self._known:
            return
        if rules != self._known:
            limits = [_limit_of(each) for each in rules]
            self._throttles = tuple(
                each for each in limits if isinstance(each, Throttle)
            )
            self._daily = tuple(each for each in limits if isinstance(each, DailyLimit))
        self._known = rules


def _limit_of(rule: ThrottleRule) -> Throttle | DailyLimit:
    per = frozenset(map(Key, rule.per))
    match = tuple((Key(key), value) for key, value in rule.match)
    title, ident = rule.name or "", f"#{rule.id}"
    limit = parse_limit(rule.limit)
    if isinstance(limit, PerDay):
        return DailyLimit(limit.count, per, match, title, ident)
    return Throttle(limit, per, match, title, ident)


def throttles_of(profile: Profile) -> list[Throttle]:
    """Return the throttles of a profile; its rates were checked when it was loaded.

    Raises:
        UnitError: a rate is not spelled as ``config.units.parse_rate`` reads it.
    """
    scopes = (
        (profile.throttles, _SITE),
        (profile.per_source.throttles, _SOURCE),
        (profile.overall.throttles, _OVERALL),
    )
    return [Throttle(parse_rate(rate), per) for rates, per in scopes for rate in rates]
