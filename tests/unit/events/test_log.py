"""The event log: written in commit order, read on from a cursor."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.clock import ManualClock
from mailwright.events.following import Filter, read_after
from mailwright.events.log import About, Event, masked, write_event
from mailwright.events.position import CursorError
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, MessageId, Subject, TenantId
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Bound, Row, unit
from mailwright.store.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = Filter(None)


def about(delivery: int, tenant: int = 1, message: int = 7) -> About:
    return About(
        TenantId(tenant),
        MessageId(message),
        DeliveryId(delivery),
        Subject(b"s" * 16),
        NOON.date(),
    )


async def open_store(folder: Path) -> Store:
    return await Store.open(
        StoreSettings(folder / "e.db", folder, "n"),
        clock=ManualClock(NOON),
        day_tables=[events_of],
    )


async def write(store: Store, *events: tuple[datetime, EventType, About]) -> None:
    for at, kind, whom in events:
        await store.run(
            unit(write_event(store.node, at, kind, whom, {"n": whom.delivery}))
        )


async def read_all(store: Store, wanted: Filter = ALL, limit: int = 3) -> list[Event]:
    found: list[Event] = []
    cursor = ""
    while True:
        page = await read_after(store, cursor, wanted, limit=limit, days=store.days())
        if not page.events and page.cursor == cursor:
            return found
        found += page.events
        cursor = page.cursor


def test_events_are_read_in_commit_order_page_by_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path)
        await write(
            store, *((NOON, EventType.RECEIVED, about(n)) for n in range(1, 11))
        )
        found = await read_all(store)
        assert [event.about.delivery for event in found] == list(range(1, 11))
        assert len({event.id for event in found}) == 10
        assert found[0].data == {"n": 1}
        assert found[0].at == NOON
        await store.close()

    asyncio.run(scenario())


def test_an_event_of_yesterday_that_was_committed_today_is_not_missed(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path)
        today = NOON + timedelta(days=1)
        await write(
            store,
            (NOON, EventType.RECEIVED, about(1)),
            (today, EventType.RECEIVED, about(2)),
        )
        page = await read_after(store, "", ALL, limit=10, days=store.days())
        assert [event.about.delivery for event in page.events] == [1, 2]
        await write(
            store,
            (NOON, EventType.DELIVERED, about(3)),
            (today, EventType.DELIVERED, about(4)),
        )
        page = await read_after(store, page.cursor, ALL, limit=10, days=store.days())
        assert [event.about.delivery for event in page.events] == [3, 4]
        await store.close()

    asyncio.run(scenario())


def test_filters_choose_tenant_type_and_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path)
        await write(
            store,
            (NOON, EventType.RECEIVED, about(1)),
            (NOON, EventType.RECEIVED, about(2, tenant=2)),
            (NOON, EventType.BOUNCED, about(1)),
            (NOON, EventType.DELIVERED, about(3, message=8)),
        )

        async def of(wanted: Filter) -> list[int]:
            return [event.about.delivery for event in await read_all(store, wanted)]

        assert await of(Filter(TenantId(1))) == [1, 1, 3]
        assert await of(Filter(TenantId(2))) == [2]
        assert await of(Filter(TenantId(1), frozenset({EventType.BOUNCED}))) == [1]
        assert await of(Filter(TenantId(1), message=MessageId(8))) == [3]
        assert await of(Filter(TenantId(2), message=MessageId(8))) == []
        await store.close()

    asyncio.run(scenario())


def test_the_cursor_of_an_empty_page_passes_what_was_looked_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path)
        await write(store, *((NOON, EventType.RECEIVED, about(n)) for n in range(1, 6)))
        rare = Filter(TenantId(1), frozenset({EventType.BOUNCED}))
        empty = await read_after(store, "", rare, limit=10, days=store.days())
        assert not empty.events
        await write(store, (NOON, EventType.BOUNCED, about(9)))
        page = await read_after(store, empty.cursor, ALL, limit=10, days=store.days())
        assert [event.about.delivery for event in page.events] == [9]
        await store.close()

    asyncio.run(scenario())


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    async def read() -> None:
        await read_after(FakeStore(), text, ALL, limit=1, days=[date(2026, 1, 1)])

    try:
        asyncio.run(read())
    except CursorError:
        return
    assert FakeStore.was_read


class FakeStore:
    """Answers that nothing is there."""

    node = 1
    epoch = 1
    was_read = False

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        FakeStore.was_read = True
        return [
            [(None, None)] if query.name == "bounds of events" else []
            for query, _ in bounds
        ]


def test_the_cursor_of_a_log_without_events_goes_on_with_the_first(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        store = await open_store(tmp_path)
        empty = await read_after(store, "", ALL, limit=9, days=store.days())
        await write(store, (NOON, EventType.RECEIVED, about(1)))
        page = await read_after(store, empty.cursor, ALL, limit=9, days=store.days())
        await store.close()
        assert [event.about.delivery for event in page.events] == [1]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 <ann@example.net>: unknown", "550 <<address>>: unknown"),
        ("no such user ann.lee+x@mail.example.net here", "no such user <address> here"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_addresses_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
