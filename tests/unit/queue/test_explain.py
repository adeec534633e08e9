"""What the limits of a profile allow, and what a selection names."""

import json
from dataclasses import replace

import pytest

from fakes.queueing import PROFILE
from mailwright.accounts.directory import ThrottleRule
from mailwright.ids import LineId, PoolId, StreamId, TenantId
from mailwright.queue.explain import (
    Limit,
    ceiling_per_hour,
    limits_of,
    most_connections,
    said_of,
)
from mailwright.queue.selection import Selection
from mailwright.site import Limits, Site


@pytest.mark.parametrize(
    ("throttles", "per_source", "overall", "sources", "expected"),
    [
        ((), (), (), 2, None),
        (("20/min",), (), (), 1, 1200),
        (("20/min",), (), (), 3, 3600),
        (("20/min", "600/h"), (), (), 2, 1200),
        (("20/min",), ("100/h",), (), 2, 200),
        (("20/min",), (), ("500/h",), 4, 500),
    ],
)
def test_the_tightest_rate_is_the_ceiling(
    throttles: tuple[str, ...],
    per_source: tuple[str, ...],
    overall: tuple[str, ...],
    sources: int,
    expected: float | None,
) -> None:
    profile = replace(
        PROFILE,
        throttles=throttles,
        per_source=Limits(None, per_source),
        overall=Limits(None, overall),
    )
    assert ceiling_per_hour(Site("mx.example", (), (), profile), sources) == expected


def rule(limit: str, per: str = "", **match: str) -> ThrottleRule:
    return ThrottleRule(1, None, limit, frozenset(per.split()), tuple(match.items()))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule("100/h", "site")], 100),
        ([rule("100/h", "source site")], 300),
        ([rule("100/h", provider=PROFILE.provider)], 100),
        ([rule("500/h"), rule("400/h", "provider")], 400),
        # These leave room for the mail of others, or of other days.
        ([rule("100/h", "tenant")], 1200),
        ([rule("100/h", "source", tenant="7")], 1200),
        ([rule("100/h", provider="someone else")], 1200),
        ([rule("100/h", source="7")], 1200),
        ([rule("100/day", "site")], 1200),
    ],
)
def test_rates_of_operators_that_count_all_mail_bound_it_too(
    rules: list[ThrottleRule], expected: float
) -> None:
    profile = replace(
        PROFILE, throttles=(), per_source=Limits(), overall=Limits(None, ("20/min",))
    )
    site = Site("mx.example", (), (), profile)
    assert ceiling_per_hour(site, 3, rules) == expected


def test_the_tightest_scope_bounds_the_connections() -> None:
    assert most_connections(PROFILE, 2) == 6
    wide = replace(PROFILE, per_source=Limits(2), overall=Limits(50))
    assert most_connections(wide, 3) == 6
    assert most_connections(replace(wide, overall=Limits(5)), 3) == 5


def test_each_limit_names_its_level() -> None:
    profile = replace(PROFILE, throttles=("20/min",), overall=Limits(9, ("1/s",)))
    assert limits_of(profile) == [
        Limit("source and site", "3 connections"),
        Limit("source and site", "20/min"),
        Limit("all sources", "9 connections"),
        Limit("all sources", "1/s"),
        Limit("connection", "100 messages, then another"),
    ]


def test_the_latest_reply_comes_first() -> None:
    rows = [
        (json.dumps((450, "4.2.0", text, "rcpt", "remote", "mx", at)),)
        for text, at in (("early", 1), ("late", 3), ("between", 2))
    ]
    assert [each.text for each in said_of(rows)] == ["late", "between", "early"]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(tenant=TenantId(1), domain="x.example"),
        Selection(stream=StreamId(2), provider="big", pool=PoolId(3)),
        Selection(line=LineId(2**62)),
    ],
    ids=str,
)
def test_a_selection_is_kept_as_it_is(selection: Selection) -> None:
    kept = json.loads(json.dumps(selection.to_scope()))
    assert Selection.from_scope(kept) == selection
    assert not selection.is_empty
    assert Selection().is_empty


def test_a_narrower_selection_is_covered_and_a_wider_one_is_not() -> None:
    wide = Selection(tenant=TenantId(1))
    narrow = Selection(tenant=TenantId(1), domain="x.example")
    assert wide.covers(narrow)
    assert not narrow.covers(wide)
    assert not wide.covers(Selection(tenant=TenantId(2), domain="x.example"))
