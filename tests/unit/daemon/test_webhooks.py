"""Webhooks as they run: bounded, in nobody's way, and told of what was dropped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from fakes.hook_receiver import Answer, HookReceiver
from fakes.hooking import Hooking, InMemoryPoster, hooking
from fakes.queueing import make_directory
from mailwright.accounts.directory import Directory, Tenant
from mailwright.api.webhooks.endpoint import Endpoint, EndpointState
from mailwright.api.webhooks.schedule import Result
from mailwright.daemon import webhooks
from mailwright.daemon.unread import KEPT_LONGER, UnreadDays
from mailwright.ids import TenantId


def two_tenants() -> Directory:
    found = make_directory()
    both = {TenantId(n): Tenant(TenantId(n), f"t{n}") for n in (1, 2)}
    return replace(found, tenants=both)


def drive(
    folder: Path,
    test: Callable[[Hooking, HookReceiver], Awaitable[None]],
    **members: Any,
) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(100),
            HookReceiver() as hook,
            hooking(folder, directory=two_tenants, **members) as rig,
        ):
            await test(rig, hook)

    asyncio.run(run())


@asynccontextmanager
async def serving(rig: Hooking) -> AsyncIterator[None]:
    """Run the service, and stop it in order."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rig.service.run())
        yield
        await rig.service.stop(within_s=1)
        running.cancel()


def test_endpoints_that_hang_hold_up_no_other_and_not_their_tenants_neighbour(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        async with HookReceiver(usual=Answer.HANG) as slow, serving(rig):
            for n in range(webhooks.IN_FLIGHT_OF_TENANT + 3):
                await rig.create(slow.url(f"/{n}"))
            neighbour, _ = await rig.create(hook.url(), tenant=2)
            await rig.happen(30)
            await slow.wait(lambda: len(slow.requests) >= webhooks.IN_FLIGHT_OF_TENANT)
            await rig.happen(250, tenant=2)
            await hook.wait(lambda: len(hook.events()) == 250)
            # One request to each, and no more of a tenant at once than its share.
            assert len({each.path for each in slow.requests}) == len(slow.requests)
            assert len(slow.requests) == webhooks.IN_FLIGHT_OF_TENANT
            assert rig.service.statistics().in_flight >= webhooks.IN_FLIGHT_OF_TENANT
            assert neighbour.endpoint.failures == 0

    drive(tmp_path, test, within_s=60.0)


def test_whoever_waited_longest_has_its_turn_first(tmp_path: Path) -> None:
    async def test(rig: Hooking, _: HookReceiver) -> None:
        for n in range(12):
            await rig.create(f"http://127.0.0.1:9/{n}")
        async with serving(rig):
            await rig.happen(webhooks.IN_A_ROW * 100 + 300)
            async with asyncio.timeout(60):
                while rig.service.statistics().events < 12 * len(rig.written):
                    await asyncio.sleep(0.05)
        for entry in rig.door.book:
            got = [
                e for i, _, ids, _ in poster.sent if i == entry.endpoint.id for e in ids
            ]
            assert got == rig.ids()

    poster = InMemoryPoster()
    drive(tmp_path, test, poster=poster)


def test_a_bug_in_one_endpoints_turn_lets_the_others_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InMemoryPoster):
        @override
        async def post(
            self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
        ) -> Result:
            if endpoint.name == "broken":
                raise ZeroDivisionError
            return await super().post(endpoint, ident, body, at)

    async def test(rig: Hooking, _: HookReceiver) -> None:
        await rig.create("http://127.0.0.1:9/1", name="broken")
        await rig.create("http://127.0.0.1:9/2")
        async with serving(rig):
            await rig.happen(10)
            async with asyncio.timeout(60):
                while rig.service.statistics().events < 10:
                    await asyncio.sleep(0.05)

    drive(tmp_path, test, poster=Broken())
    assert [each.getMessage()[-5:] for each in caplog.records] == ["rests"]


def test_what_is_under_way_at_the_end_is_waited_for_or_sent_again(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        hook.answers = [Answer.HANG]
        entry, secret = await rig.create(hook.url())
        await rig.happen(3)
        async with serving(rig):
            await hook.wait(lambda: len(hook.requests) == 1)
        public = entry.endpoint.public
        await rig.restart()
        async with serving(rig):
            await hook.wait(lambda: len(hook.taken) == 1)
        assert len({each.ident for each in hook.requests}) == 1
        assert hook.requests[-1].is_signed_with(secret)
        assert rig.door.entry(entry.endpoint.tenant, public)

    drive(tmp_path, test)


def test_tenants_that_are_retired_get_nothing(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        await rig.create(hook.url("/retired"), tenant=7)
        await rig.create(hook.url())
        async with serving(rig):
            await rig.happen(2, tenant=7)
            await rig.happen(2)
            await hook.wait(lambda: len(hook.events()) == 2)
        assert {each.path for each in hook.requests} == {"/hook"}

    drive(tmp_path, test)


# -- days that were not read --------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def day_by_day(rig: Hooking, days: int) -> list[date]:
    """Let three things happen on each of some days."""
    found = []
    for _ in range(days):
        await rig.store.ensure_day(rig.clock.now().date())
        found.append(rig.clock.now().date())
        await rig.happen(3)
        rig.clock.advance(86_400)
    return found


def test_days_that_were_not_read_are_kept_for_a_week_and_then_told_of(
    tmp_path: Path,
) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, secret = await rig.create(hook.url(), after="")
        days = await day_by_day(rig, 3)
        unread = UnreadDays(rig.store, rig.service, None)
        soon, late = days[0] + timedelta(days=1), days[0] + KEPT_LONGER
        assert not await unread.may_drop(days[0], soon)
        assert not await unread.may_drop(days[0], late)
        assert entry.endpoint.state is EndpointState.ACTIVE
        for day in days[:2]:
            assert await unread.may_drop(day, day + KEPT_LONGER + timedelta(days=1))
            await rig.store.drop_day(day)
        endpoint = entry.endpoint
        assert endpoint.state is EndpointState.PAUSED
        assert "dropped" in endpoint.reason
        # It is told, durably, once; then all that is left follows.
        await rig.restart()
        entry = rig.door.entry(endpoint.tenant, endpoint.public)
        shown = await rig.door.show(entry)
        assert shown.gap is not None
        assert (shown.gap.after, shown.lag and shown.lag.events) == ("", 3)
        await rig.door.resume(entry)
        hook.answers = [Answer.FAIL]
        await rig.deliver(entry)
        gap, *others = hook.events()
        assert gap["type"] == "events.gap"
        assert gap["data"] == {"after": "", "until": shown.gap.until}
        assert [each["id"] for each in others] == rig.ids()[6:]
        assert len({each.ident for each in hook.requests}) == 1
        assert all(each.is_signed_with(secret) for each in hook.requests)
        await rig.happen(1)
        await rig.deliver(entry)
        assert [each["type"] for each in hook.requests[-1].events] == ["deferred"]

    drive(tmp_path, test, start=NOON)


def test_days_that_were_read_go_at_once(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        entry, _ = await rig.create(hook.url(), after="")
        rare, _ = await rig.create(hook.url("/rare"), after="", types=["bounced"])
        days = await day_by_day(rig, 1)
        unread = UnreadDays(rig.store, rig.service, None)
        horizon = days[0] + timedelta(days=1)
        await rig.deliver(entry)
        assert not await unread.may_drop(days[0], horizon)
        # Nothing of it is for this one; it has looked.
        await rig.deliver(rare)
        assert await unread.may_drop(days[0], horizon)
        assert await unread.may_drop(days[0], horizon + 2 * KEPT_LONGER)
        for each in rig.door.book:
            assert each.endpoint.gap is None
            assert each.endpoint.state is EndpointState.ACTIVE

    drive(tmp_path, test, start=NOON)


def test_a_week_without_webhooks_keeps_nothing(tmp_path: Path) -> None:
    async def test(rig: Hooking, hook: HookReceiver) -> None:
        days = await day_by_day(rig, 1)
        unread = UnreadDays(rig.store, rig.service, None)
        assert await unread.may_drop(days[0], days[0] + timedelta(days=1))
        gone, _ = await rig.create(hook.url(), after="")
        assert not await unread.may_drop(days[0], days[0] + timedelta(days=1))
        hook.usual = Answer.GONE
        await rig.deliver(gone)
        assert gone.endpoint.state is EndpointState.DISABLED
        assert await unread.may_drop(days[0], days[0] + timedelta(days=1))

    drive(tmp_path, test, start=NOON)


def test_a_day_that_is_lost_while_a_batch_is_under_way_is_told_of_too(
    tmp_path: Path,
) -> None:
    class Losing(InMemoryPoster):
        rig: Hooking
        day: date

        @override
        async def post(
            self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
        ) -> Result:
            result = await super().post(endpoint, ident, body, at)
            if len(self.sent) == 1:
                await self.rig.service.lose(self.day, 150)
            return result

    async def test(rig: Hooking, _: HookReceiver) -> None:
        poster.rig, poster.day = rig, rig.clock.now().date()
        entry, _secret = await rig.create("http://127.0.0.1:9/", after="")
        await rig.happen(300)
        await rig.deliver(entry)
        assert entry.endpoint.state is EndpointState.PAUSED
        await rig.door.resume(entry)
        await rig.deliver(entry)
        sent = [each for _, _, ids, _ in poster.sent for each in ids]
        assert sent[:100] == rig.ids()[:100]
        assert sent[100].startswith("gap_")
        assert sent[101:] == rig.ids()[150:]

    poster = Losing()
    drive(tmp_path, test, poster=poster)
