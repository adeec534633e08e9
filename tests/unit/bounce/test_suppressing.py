"""Suppressions on a real store: what is kept, what is replaced, what is asked."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from fakes.queueing import rows_of
from mailwright.address import Address, parse_address
from mailwright.bounce.suppressing import Suppressions, Wanted
from mailwright.bounce.suppression import EVERYONE, Cause, Reason, Scope, suppress
from mailwright.bounce.tables import suppressions
from mailwright.clock import ManualClock
from mailwright.ids import StreamId, Subject, TenantId
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Query, unit
from mailwright.store.store import Store

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME, OTHER = TenantId(1), TenantId(2)
NEWS = StreamId(7)
ANN, BOB = parse_address("ann@example.net"), parse_address("bob@example.net")
BY_HAND = Cause(Reason.MANUAL, "cli:root", "asked by telephone")


def subject_of(address: Address | str) -> Subject:
    return Subject(hashlib.sha256(str(address).encode()).digest()[:16])


Test = Callable[[Suppressions, Store, ManualClock], Awaitable[None]]


def drive(folder: Path, test: Test) -> None:
    async def run() -> None:
        clock = ManualClock(START)
        settings = StoreSettings(folder / "test.db", folder, "test")
        store = await Store.open(settings, clock=clock)
        try:
            await test(Suppressions(store, clock, subject_of), store, clock)
        finally:
            await store.close()

    asyncio.run(run())


def addresses(count: int) -> list[Address]:
    return [parse_address(f"user{number}@example.net") for number in range(count)]


def test_no_address_is_stored(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        assert await found.add([ANN], Scope(ACME), BY_HAND) == 1
        (row,) = await rows_of(store, suppressions)
        assert subject_of(ANN) in row
        assert "ann" not in repr(row).replace("manual", "")
        (one,) = await found.of(ANN, ACME)
        assert one.cause == BY_HAND
        assert (one.created_at, one.scope) == (START, Scope(ACME))

    drive(tmp_path, test)


def test_adding_again_adds_nothing_and_keeps_the_first_cause(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        many = addresses(250)
        assert await found.add(many, Scope(ACME), BY_HAND) == 250
        clock.advance(60)
        again = Cause(Reason.IMPORT, "api:crm")
        assert await found.add([*many, ANN, ANN], Scope(ACME), again) == 1
        (one,) = await found.of(many[0], ACME)
        assert one.cause == BY_HAND
        assert one.created_at == START
        assert len(await rows_of(store, suppressions)) == 251

    drive(tmp_path, test)


@pytest.mark.parametrize(
    ("before_days", "then_days", "kept_days"),
    [(1, 2, 2), (2, 1, 2), (1, None, None), (None, 1, None), (-1, 1, 1)],
)
def test_the_longer_one_stays(
    tmp_path: Path,
    before_days: int | None,
    then_days: int | None,
    kept_days: int | None,
) -> None:
    def end(days: int | None) -> datetime | None:
        return None if days is None else START + timedelta(days=days)

    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        for days in (before_days, then_days):
            cause = Cause(Reason.MANUAL, f"for {days}", ends_at=end(days))
            await found.add([ANN], Scope(ACME), cause)
        (one,) = await found.of(ANN, ACME)
        assert one.cause.ends_at == end(kept_days)
        assert one.cause.author == f"for {kept_days}"

    drive(tmp_path, test)


def test_one_that_may_be_undone_gives_way_to_one_that_may_not(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        await found.add([ANN], Scope(ACME), Cause(Reason.HARD_BOUNCE, "rule"))
        provisional = Query(
            "make provisional", suppressions.update().values(is_provisional=1)
        )
        await store.run(unit(provisional()))
        (one,) = await found.of(ANN, ACME)
        assert one.is_provisional
        assert await found.add([ANN], Scope(ACME), BY_HAND) == 1
        (one,) = await found.of(ANN, ACME)
        assert not one.is_provisional
        assert one.cause == BY_HAND

    drive(tmp_path, test)


def test_what_has_ended_stops_nothing_and_is_not_shown(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        short = Cause(Reason.MANUAL, "cli:root", ends_at=START + timedelta(hours=1))
        await found.add([ANN], Scope(ACME), short)
        assert len(await found.of(ANN, ACME)) == 1
        clock.advance(3601)
        assert await found.of(ANN, ACME) == []
        assert await found.page(Wanted(ACME), None, 10) == []

    drive(tmp_path, test)


def test_each_scope_is_its_own(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        left = Cause(Reason.UNSUBSCRIBE, "recipient")
        for scope in (Scope(ACME, NEWS), Scope(OTHER), Scope(EVERYONE)):
            await found.add([ANN], scope, left)
        scopes = [each.scope for each in await found.of(ANN, ACME)]
        assert scopes == [Scope(EVERYONE), Scope(ACME, NEWS)]
        assert len(await found.of(ANN, None)) == 3
        assert await found.remove(ANN, Scope(ACME), author="x") is None
        gone = await found.remove(ANN, Scope(ACME, NEWS), author="x")
        assert gone is not None
        assert gone.cause == left
        assert [each.scope for each in await found.of(ANN, ACME)] == [Scope(EVERYONE)]
        assert await found.remove(ANN, Scope(ACME, NEWS), author="x") is None
        assert await found.of(BOB, None) == [] != await found.of(ANN, None)

    drive(tmp_path, test)


def test_pages_show_each_one_once_whatever_their_size(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        many = addresses(7)
        await found.add(many[:3], Scope(ACME), BY_HAND)  # at one instant
        await found.add(many[:2], Scope(ACME, NEWS), BY_HAND)
        clock.advance(1)
        imported = Cause(Reason.IMPORT, "cli:root")
        await found.add(many[3:], Scope(ACME), imported)
        await found.add(many, Scope(OTHER), BY_HAND)
        whole = await found.page(Wanted(ACME), None, 100)
        assert len(whole) == 9
        assert [each.created_at for each in whole] == sorted(
            each.created_at for each in whole
        )
        for size in (1, 2, 3, 8):
            shown, after = [], None
            while page := await found.page(Wanted(ACME), after, size):
                assert len(page) <= size
                shown += page
                after = page[-1].place
            assert shown == whole
        of_news = await found.page(Wanted(ACME, stream=NEWS), None, 100)
        assert {each.subject for each in of_news} == set(map(subject_of, many[:2]))
        named = await found.page(Wanted(ACME, reason="import"), None, 100)
        assert {each.subject for each in named} == set(map(subject_of, many[3:]))

    drive(tmp_path, test)


def test_a_page_is_read_by_its_index(tmp_path: Path) -> None:
    from mailwright.bounce.suppression import BEGINNING, of_tenant
    from mailwright.store.sqlite import DIALECT

    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        bound = of_tenant(
            ACME, stream=None, reason=None, after=BEGINNING, most=10, now=START
        )
        compiled = bound.query.compiled(DIALECT)
        import sqlite3

        with sqlite3.connect(tmp_path / "test.db") as database:
            values = compiled.pick({**compiled.fixed, **bound.params})
            plan = database.execute(f"EXPLAIN QUERY PLAN {compiled.text}", values)
            steps = [row[3] for row in plan]
        database.close()
        assert any("suppressions_tenant (tenant=? AND created_at>?" in s for s in steps)
        assert not any("TEMP B-TREE" in step for step in steps), steps

    drive(tmp_path, test)


def test_the_statement_of_other_rooms_suppresses_all_streams(tmp_path: Path) -> None:
    async def test(found: Suppressions, store: Store, clock: ManualClock) -> None:
        bound = suppress(
            subject_of(ANN), ACME, reason="hard_bounce", author="rule", at=START
        )
        await store.run(unit(bound, bound))
        (one,) = await found.of(ANN, ACME)
        assert (one.scope, one.cause) == (Scope(ACME), Cause("hard_bounce", "rule"))
        counted = Query("count", select(suppressions.c.tenant))
        assert await store.read(counted()) == [[(ACME,)]]

    drive(tmp_path, test)
