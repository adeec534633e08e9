"""A node that starts with a wrong clock, and one that starts after such a node."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.queueing import (
    LATER,
    Queue,
    ScriptedCourier,
    days_tables,
    make_submission,
    open_queue,
    rows_of,
)
from mailwright.attempt import End
from mailwright.clock import ManualClock
from mailwright.events.latest import last_event_at
from mailwright.queue.recovery import bring_back
from mailwright.queue.tables import deliveries
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store
from mailwright.store.trusted_time import forget_trusted, keep_trusted, read_trusted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AHEAD = NOW + timedelta(days=365)


async def put_off(queue: Queue, recipient: str, at: datetime) -> None:
    """Accept a message, and let its first attempt be deferred."""
    await queue.intake.accept(make_submission(recipient, at=at))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.scheduler.run())
        async with asyncio.timeout(120):
            while not any(kind == "deferred" for kind, _ in await queue.events()):
                await asyncio.sleep(0.005)
        queue.scheduler.stop()


def deferring() -> ScriptedCourier:
    return ScriptedCourier(lambda _parcel, _source: (End.REPLIED, LATER))


async def due_dates(queue: Queue) -> dict[str, datetime]:
    names = list(deliveries.c.keys())
    recipient, due_at = names.index("recipient"), names.index("due_at")
    return {
        row[recipient]: datetime.fromtimestamp(row[due_at] / 1e6, UTC)
        for row in await rows_of(queue.store, deliveries)
    }


def test_what_a_wrong_clock_put_off_is_due_again(tmp_path: Path) -> None:
    async def main() -> None:
        ahead = ManualClock(AHEAD)
        async with open_queue(tmp_path, courier=deferring(), clock=ahead) as queue:
            await put_off(queue, "late@a.example", AHEAD)
            wanted = make_submission(
                "wanted@a.example", at=AHEAD, not_before=AHEAD + timedelta(days=2)
            )
            await queue.intake.accept(wanted)
        async with open_queue(tmp_path, clock=ManualClock(NOW)) as queue:
            before = await due_dates(queue)
            assert before["late@a.example"] >= AHEAD
            assert await bring_back(queue.store, NOW, AHEAD - NOW) == 1
            after = await due_dates(queue)
            late = before["late@a.example"] - AHEAD
            assert after["late@a.example"] == NOW + late
            assert late < timedelta(minutes=1)
            assert after["wanted@a.example"] == before["wanted@a.example"]
            # A second time, before anything was tried: not before now.
            assert await bring_back(queue.store, NOW, AHEAD - NOW) == 1
            assert (await due_dates(queue))["late@a.example"] == NOW
            assert await bring_back(queue.store, NOW, AHEAD - NOW) == 0

    asyncio.run(main())


def test_the_last_event_is_the_one_written_last(tmp_path: Path) -> None:
    async def main() -> None:
        for at in (NOW, AHEAD, NOW + timedelta(hours=1)):
            async with open_queue(tmp_path, clock=ManualClock(at)) as queue:
                await queue.intake.accept(make_submission("x@a.example", at=at))
                store = queue.store
                assert await last_event_at(store, store.days()) == at

    asyncio.run(main())


def test_the_trusted_time_is_that_of_the_first_doubt(tmp_path: Path) -> None:
    async def main() -> None:
        settings = StoreSettings(tmp_path / "q.db", tmp_path, "n1")
        for kept, now in ((None, NOW), (NOW, AHEAD)):
            store = await Store.open(
                settings, clock=ManualClock(), day_tables=days_tables()
            )
            try:
                assert await read_trusted(store) == kept
                await keep_trusted(store, now)
                assert await read_trusted(store) == NOW
            finally:
                await store.close()
        store = await Store.open(settings, clock=ManualClock())
        try:
            await forget_trusted(store)
            assert await read_trusted(store) is None
        finally:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("days", [0, 1])
def test_without_events_there_is_no_last_one(tmp_path: Path, days: int) -> None:
    async def main() -> None:
        async with open_queue(tmp_path) as queue:
            known = queue.store.days()[:days]
            assert await last_event_at(queue.store, known) is None

    asyncio.run(main())
