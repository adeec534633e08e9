"""A campaign's pace: so many in an hour, spread over it, whatever the line or source."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.accounts.directory import Pool, Source
from mailwright.clock import ClockTrust, ManualClock
from mailwright.config.units import parse_rate
from mailwright.ids import CampaignId, LineId, PoolId, SourceId, TenantId
from mailwright.permit import PermitKeys, Stop
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.growth import Growth
from mailwright.reputation.ledger import Ledgers
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.permits import Permits, State
from mailwright.reputation.stored import StoredLimits
from mailwright.reputation.throttle import Key, Throttle
from mailwright.site import Pipelining, Profile, TlsDemand
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
POOL, SOURCE = PoolId(1), SourceId(1)
PROFILE = Profile("default", 100, 100, Pipelining.COMMANDS, TlsDemand.NONE, (60.0,))
POOLS = {
    POOL: Pool(
        POOL,
        "main",
        tuple((Source(SourceId(n), f"s{n}", "", "me.example"), 1) for n in (1, 2)),
    )
}


def keys(campaign: int, pace: int | None, line: int = 1) -> PermitKeys:
    return PermitKeys(
        "default",
        "mx.example",
        POOL,
        LineId(line),
        f"d{line}.example",
        TenantId(1),
        CampaignId(campaign),
        pace_per_hour=pace,
    )


def permits(*throttles: Throttle) -> Permits:
    state = State(Buckets(), Ledgers(NOW.date(), print), Growth(first=1000), Counter())
    return Permits(lambda: POOLS, state, LimitBook(lambda: throttles))


def left(book: Permits, asking: PermitKeys, begin: datetime, lasts: timedelta) -> int:
    """Return how many leave from ``begin`` on by whoever asks as it is told."""
    now, count = begin, 0
    while now < begin + lasts:
        permit = book.permit(asking, PROFILE, now, 10, SOURCE)
        count += permit.granted
        if permit.until is not None and permit.until > now:
            now = permit.until
    return count


@given(st.integers(1, 200_000))
def test_a_pace_is_kept_for_an_hour_and_a_second_s_worth_comes_at_once(
    pace: int,
) -> None:
    book = permits()
    first = book.permit(keys(1, pace), PROFILE, NOW, 10**6, SOURCE).granted
    assert 1 <= first <= max(1, pace // 3600)
    per_minute = left(book, keys(1, pace), NOW, timedelta(minutes=1))
    assert first + per_minute <= pace / 60 + 1 + max(1, pace // 3600)


def test_an_hour_s_pace_leaves_within_the_hour() -> None:
    assert 500 <= left(permits(), keys(1, 500), NOW, HOUR) <= 501


def test_lines_and_sources_of_a_campaign_share_its_pace_and_others_do_not() -> None:
    book = permits()
    assert book.permit(keys(1, 500), PROFILE, NOW, 5, SOURCE).granted == 1
    other_line = book.permit(keys(1, 500, line=2), PROFILE, NOW, 5, SourceId(2))
    assert (other_line.granted, other_line.stop) == (0, Stop.LINE)
    assert other_line.reason == "pacing 500/h of this campaign"
    assert book.permit(keys(2, 500), PROFILE, NOW, 5, SOURCE).granted == 1
    assert book.permit(keys(3, None), PROFILE, NOW, 5, SOURCE).granted == 5


def test_a_connection_is_not_opened_for_what_may_not_leave() -> None:
    book = permits()
    assert book.permit(keys(1, 500), PROFILE, NOW, 5, SOURCE).granted == 1
    refused = book.connect(keys(1, 500), PROFILE, NOW)
    assert not refused.granted
    assert refused.until == NOW + timedelta(seconds=7.2)


@pytest.mark.parametrize(("before", "after"), [(60, 3600), (3600, 60)])
def test_a_change_acts_on_the_next_question(before: int, after: int) -> None:
    book = permits()
    # As if an hour had been used up: nothing is left over from the old pace.
    assert left(book, keys(1, before), NOW, HOUR) >= before
    count = left(book, keys(1, after), NOW + HOUR, timedelta(minutes=10))
    assert abs(count - after // 6) <= 1


def test_what_another_throttle_refuses_is_not_counted_for_the_pace() -> None:
    site = Throttle(parse_rate("60/h"), frozenset({Key.SITE}))
    book = permits(site)
    used = replace(keys(9, None), line=LineId(9))
    assert book.permit(used, PROFILE, NOW, 1, SOURCE).granted == 1
    assert book.permit(keys(1, 3600), PROFILE, NOW, 1, SOURCE).granted == 0
    elsewhere = replace(keys(1, 3600), site="other.example")
    assert book.permit(elsewhere, PROFILE, NOW, 1, SOURCE).granted == 1


def test_refusals_are_counted_under_one_name_whatever_the_pace() -> None:
    state = State(Buckets(), Ledgers(NOW.date(), print), Growth(first=1000), Counter())
    book = Permits(lambda: POOLS, state, LimitBook())
    for campaign, pace in ((1, 500), (2, 600)):
        for _ in range(2):
            book.permit(keys(campaign, pace), PROFILE, NOW, 1, SOURCE)
    assert state.refusals == {"pacing per campaign": 2}


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_restart_gives_nothing_twice(tmp_path: Path, *, is_orderly: bool) -> None:
    clock = ManualClock(NOW)

    async def life(*waits_s: float) -> list[int]:
        store = await Store.open(
            StoreSettings(tmp_path / "q.db", tmp_path, "n1"), clock=clock
        )
        try:
            limits = StoredLimits(store, clock, ClockTrust())
            await limits.load()
            book = Permits(lambda: POOLS, limits.state, LimitBook())
            granted = []
            for wait_s in waits_s:
                clock.advance(wait_s)
                permit = book.permit(keys(1, 500), PROFILE, clock.now(), 5, SOURCE)
                granted.append(permit.granted)
            if is_orderly:
                await limits.save()
            return granted
        finally:
            await store.close()

    assert asyncio.run(life(0.0)) == [1]
    assert asyncio.run(life(3.0, 7.2)) == [0, 1]
