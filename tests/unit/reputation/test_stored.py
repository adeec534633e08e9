"""What permits remember outlives the process, and no restart gives anything twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailwright.clock import ClockTrust, ManualClock
from mailwright.config.units import parse_rate
from mailwright.events.latest import last_event_at
from mailwright.events.log import About, write_event
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, MessageId, Subject, TenantId
from mailwright.reputation.stored import StoredLimits
from mailwright.reputation.throttle import Bucket, Throttle, to_ns
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import unit
from mailwright.store.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
THROTTLE = Throttle(parse_rate("60/h burst 10"), frozenset())


@dataclass
class Started:
    """One start of a node's limits."""

    store: Store
    limits: StoredLimits
    clock: ManualClock

    def bucket(self, name: str = "b") -> Bucket:
        now = to_ns(self.clock.now())
        bucket = self.limits.state.buckets.get(name, THROTTLE, now)
        assert bucket is not None
        return bucket

    def tokens(self, name: str = "b") -> int:
        return self.bucket(name).tokens(to_ns(self.clock.now()))

    def take(self, count: int, name: str = "b") -> None:
        self.bucket(name).take("a", to_ns(self.clock.now()), count)

    async def use(self, count: int, allowance: int = 100) -> int:
        """Use up to ``count`` of the day's allowance as reservations get durable."""
        ledgers, used = self.limits.state.ledgers, 0
        for _ in range(count):
            if not ledgers.room("k", allowance):
                await self.store.run(unit())  # what was submitted before is durable
            if ledgers.room("k", allowance):
                ledgers.take("k", 1)
                used += 1
        return used


@asynccontextmanager
async def start(
    folder: Path, at: datetime, *, trust: ClockTrust | None = None
) -> AsyncIterator[Started]:
    clock = ManualClock(at)
    store = await Store.open(
        StoreSettings(folder / "q.db", folder, "n1"),
        clock=clock,
        day_tables=[events_of],
    )
    try:
        limits = StoredLimits(store, clock, trust or ClockTrust())
        await limits.load()
        yield Started(store, limits, clock)
    finally:
        await store.close()


def test_buckets_go_on_after_an_orderly_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with start(tmp_path, NOON) as first:
            assert first.tokens() == 10  # nothing was ever sent
            first.take(8)
            first.take(1, "untouched later")
            await first.limits.save()
        async with start(tmp_path, NOON + timedelta(minutes=3)) as second:
            assert second.tokens() == 5
            assert second.tokens("another") == 10
            await second.limits.save()
        async with start(tmp_path, NOON + timedelta(minutes=3)) as third:
            assert third.tokens() == 5
            assert third.tokens("untouched later") == 10

    asyncio.run(scenario())


def test_after_a_crash_buckets_start_empty_and_fill(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with start(tmp_path, NOON) as first:
            first.take(2)
            await first.limits.save()
        for minute in (1, 2):  # the mark of the orderly stop counts once
            async with start(tmp_path, NOON + timedelta(minutes=minute)) as later:
                assert later.tokens() == (9 if minute == 1 else 0)
        async with start(tmp_path, NOON + timedelta(minutes=3)) as last:
            last.clock.advance(120)
            assert last.tokens("never seen") == 2

    asyncio.run(scenario())


def test_a_suspect_clock_fills_no_bucket(tmp_path: Path) -> None:
    trust = ClockTrust()
    trust.start(NOON, NOON - timedelta(days=3), has_mail=True)

    async def scenario() -> None:
        async with start(tmp_path, NOON) as first:
            first.take(10)
            await first.limits.save()
        async with start(tmp_path, NOON + timedelta(days=3), trust=trust) as second:
            assert second.tokens() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_day_s_allowance_is_used_once(tmp_path: Path, *, is_orderly: bool) -> None:
    async def scenario() -> None:
        used = 0
        for _ in range(12):
            async with start(tmp_path, NOON) as each:
                used += await each.use(10)
                if is_orderly:
                    await each.limits.save()
        # A crash costs what was reserved: a block of two, and half of one ahead.
        assert used == 100 if is_orderly else 70 <= used <= 100
        async with start(tmp_path, NOON + timedelta(days=1)) as tomorrow:
            assert await tomorrow.use(200) == 100

    asyncio.run(scenario())


def test_a_clock_set_to_another_day_brings_no_second_allowance(tmp_path: Path) -> None:
    trust = ClockTrust()
    trust.start(NOON, NOON - timedelta(days=9), has_mail=True)

    async def scenario() -> None:
        async with start(tmp_path, NOON) as first:
            assert await first.use(200) == 100
        async with start(tmp_path, NOON + timedelta(days=9), trust=trust) as ahead:
            assert await ahead.use(10) == 0
        async with start(tmp_path, NOON - timedelta(days=1)) as back:
            assert await back.use(10) == 0

    asyncio.run(scenario())


def test_the_last_event_is_this_node_s_latest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with start(tmp_path, NOON) as node:
            store = node.store
            for days in (0, 1, 2):
                await store.ensure_day((NOON + timedelta(days=days)).date())
            assert await last_event_at(store, store.days()) is None
            about = About(
                TenantId(1),
                MessageId(1),
                DeliveryId(1),
                Subject(b"s" * 16),
                NOON.date(),
            )
            for hours in (1, 25, 24):  # the last one written, not the latest time
                at = NOON + timedelta(hours=hours)
                event = write_event(store.node, at, EventType.DELIVERED, about, {})
                await store.run(unit(event))
            assert await last_event_at(store, store.days()) == NOON + timedelta(
                hours=24
            )

    asyncio.run(scenario())
