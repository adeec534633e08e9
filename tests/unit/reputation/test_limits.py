"""Shared limits: from the settings to whose deliveries they count."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailwright.accounts.directory import Pool, Source, ThrottleRule
from mailwright.config.treatment import TREATMENT_KEYS
from mailwright.ids import (
    CredentialId,
    LineId,
    PoolId,
    SourceId,
    StreamId,
    TenantId,
)
from mailwright.permit import PermitKeys
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.growth import Growth
from mailwright.reputation.ledger import Ledgers, Reservation
from mailwright.reputation.limits import LimitBook, SharedLimits
from mailwright.reputation.permits import Permits, State
from mailwright.reputation.treatment import KEYS
from mailwright.site import Limits, Pipelining, Profile, TlsDemand

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POOL = PoolId(1)
ONE, TWO = SourceId(1), SourceId(2)
PROFILE = Profile("google", 10, 100, Pipelining.NONE, TlsDemand.NONE, (60.0,))
KEYS_OF_MAIL = PermitKeys(
    "google",
    "site",
    POOL,
    LineId(1),
    "example.com",
    TenantId(7),
    None,
    StreamId(8),
    CredentialId(9),
    is_bulk=False,
)


class World:
    """Permits under shared limits that can be changed."""

    def __init__(self, *rules: ThrottleRule) -> None:
        self.rules = rules
        shared = SharedLimits(lambda: self.rules)
        self.shared = shared
        sources = tuple(
            (Source(each, f"ip{each}", "", "m.example.com"), 1) for each in (ONE, TWO)
        )
        pool = Pool(POOL, "main", sources)
        self.ledgers = Ledgers(NOW.date(), self._commit)
        self.permits = Permits(
            lambda: {POOL: pool},
            State(Buckets(), self.ledgers, Growth(first=1000), Counter()),
            LimitBook(shared.throttles, shared.daily),
        )

    def _commit(self, reservation: Reservation) -> None:
        self.ledgers.committed(reservation)

    def granted(
        self,
        want: int = 100,
        source: SourceId = ONE,
        now: datetime = NOW,
        profile: Profile = PROFILE,
        **keys: object,
    ) -> int:
        asked = replace(KEYS_OF_MAIL, **keys)  # type: ignore[arg-type]
        got = 0
        # A ledger is reserved in blocks: ask until there is no more.
        while permit := self.permits.permit(asked, profile, now, want - got, source):
            if not permit.granted:
                break
            got += permit.granted
            if got >= want:
                break
        return got


def rule(limit: str, *per: str, name: str | None = None, **match: str | int):
    return ThrottleRule(1, name, limit, frozenset(per), tuple(match.items()))


@pytest.mark.parametrize(
    ("match", "others"),
    [
        ({"source": 1}, {"source": TWO}),
        ({"provider": "google"}, {"provider": "yahoo"}),
        ({"site": "site"}, {"site": "elsewhere"}),
        ({"domain": "example.com"}, {"domain": "example.net"}),
        ({"tenant": 7}, {"tenant": TenantId(70)}),
        ({"tenant": 7, "stream": 8}, {"stream": StreamId(80)}),
        ({"credential": 9}, {"credential": CredentialId(90)}),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("limit", ["5/h burst 5", "5/day"])
def test_a_limit_counts_those_that_it_is_for(
    limit: str, match: dict[str, object], others: dict[str, object]
) -> None:
    world = World(rule(limit, **match))  # type: ignore[arg-type]
    assert world.granted() == 5
    assert world.granted() == 0
    assert world.granted(**others) == 100  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", ["5/h burst 5", "5/day"])
def test_each_of_what_stands_in_per_is_counted_apart(limit: str) -> None:
    world = World(rule(limit, "domain", "source", provider="google"))
    assert world.granted() == 5
    assert world.granted(source=TWO) == 5
    assert world.granted(domain="example.net") == 5
    assert world.granted() == 0
    assert world.granted(provider="yahoo") == 100


def test_mail_of_no_campaign_is_not_counted_by_campaign() -> None:
    world = World(rule("1/h", "campaign"))
    assert world.granted() == 100
    assert world.granted(campaign=3) == 1


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        ("5/h burst 5", "8/h burst 8", 3),
        ("8/h burst 8", "5/h burst 5", 0),
        ("5/day", "8/day", 3),
        ("8/day", "5/day", 0),
    ],
)
def test_what_was_used_of_a_limit_stays_used_when_it_changes(
    before: str, after: str, more: int
) -> None:
    world = World(rule(before, "provider"))
    assert world.granted() == int(before[0])
    world.rules = (rule(after, "provider"),)
    assert world.granted() == more


def test_a_limit_that_is_raised_fills_at_its_new_rate() -> None:
    world = World(rule("1/h"))
    assert world.granted() == 1
    assert world.granted(now=NOW + timedelta(seconds=10)) == 0
    world.rules = (rule("60/h"),)
    # One that was used is owed a minute, not an hour.
    assert world.granted(now=NOW + timedelta(seconds=11)) == 0
    assert world.granted(now=NOW + timedelta(seconds=80)) == 1


def test_a_limit_equal_to_that_of_the_profile_is_not_counted_twice() -> None:
    profile = replace(PROFILE, overall=Limits(throttles=("6/h burst 6",)))
    world = World(rule("6/h burst 6", "provider"))
    assert world.granted(profile=profile) == 6


def test_equal_settings_make_nothing_ready_anew() -> None:
    world = World(rule("1/h"), rule("9/day"))
    throttles, daily = world.shared.throttles(), world.shared.daily()
    world.rules = (rule("1/h"), rule("9/day"))
    assert world.shared.throttles() is throttles
    assert world.shared.daily() is daily
    world.rules = (rule("2/h"), rule("9/day"))
    assert world.shared.throttles() is not throttles


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("1/h", "throttle slow-start (1/h) of this tenant"),
        ("1/day", "allowance slow-start (1/day) of this tenant"),
    ],
)
def test_who_is_refused_is_told_the_limit_s_name(limit: str, reason: str) -> None:
    world = World(rule(limit, "tenant", name="slow-start"))
    world.granted()
    permit = world.permits.permit(KEYS_OF_MAIL, PROFILE, NOW, 1, ONE)
    assert permit.reason == reason


def test_the_keys_of_files_and_of_rules_are_the_same() -> None:
    assert {*TREATMENT_KEYS} == {*KEYS}
