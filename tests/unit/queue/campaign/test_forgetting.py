"""Campaigns that are over go, with all that is theirs; what runs or is new stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from fakes.campaigns import TENANT, new_campaign
from fakes.queueing import rows_of
from fakes.staged import MemoryStaging
from mailwright.clock import ManualClock
from mailwright.queue.campaign.progress import Progress
from mailwright.queue.campaign.tables import (
    campaign_totals,
    campaigns,
    recipients,
    rejects,
)
from mailwright.queue.claimed import claimed_of
from mailwright.queue.delivery import State
from mailwright.queue.operation_statements import WAITING_OF_LINE
from mailwright.queue.retention import Forgetting, Retention
from mailwright.queue.settle import end_waiting
from mailwright.queue.tables import contents, deliveries, finished_of, messages
from mailwright.store.bodies import BodyStore
from mailwright.store.statements import Query, Unit
from unit.queue.campaign.test_sealing import sealed_by, staged

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = 24 * 3600
RETENTION = Retention(timedelta(days=1), timedelta(days=5))
TABLES = (campaigns, recipients, rejects, campaign_totals, messages, contents)


async def cancel_waiting(store, book) -> None:
    """End all that waits, as a cancellation does."""
    for line in book:
        (rows,) = await store.read(
            WAITING_OF_LINE(line_id=line.id, before=1 << 62, slice=1000)
        )
        steps = tuple(
            end_waiting(
                claimed_of(line, row), State.CANCELLED, node=store.node, now=START
            )
            for row in rows
        )
        await store.run(Unit(steps))


def test_a_campaign_is_kept_from_its_end_on_and_then_goes_whole(tmp_path: Path) -> None:
    async def main() -> None:
        clock, staging = ManualClock(START), MemoryStaging()
        async with sealed_by(tmp_path, staging, clock) as (parts, book, sealing):
            store = parts.store
            body = b"x" * 70_000
            old = await parts.jobs.create(new_campaign(content=body))
            staging.uploaded[old.id] = [*staged(450), "no address"]
            await parts.jobs.start(TENANT, old.id, "me")
            await sealing.seal(old.id)
            kept = await parts.jobs.create(new_campaign())
            bodies = BodyStore(tmp_path / "bodies")
            forgetting = Forgetting(store, bodies.remove, store.drop_day)

            async def forget() -> list[int]:
                await forgetting.run_once(RETENTION, store.days(), clock.now())
                return [len(await rows_of(store, table)) for table in TABLES]

            clock.advance(40 * DAY)  # it has waited for long
            assert await forget() == [2, 450, 1, 1, 450, 2]
            assert START.date() in store.days()
            await parts.jobs.cancel(TENANT, old.id, "me")
            await cancel_waiting(store, book)
            await Progress(store, parts.book, clock).look()
            assert parts.book.get(old.id) is None
            found = await parts.jobs.get(TENANT, old.id)
            assert found is not None
            assert found.deliveries["cancelled"] == 450
            assert not await rows_of(store, deliveries)
            assert len(await rows_of(store, finished_of(START.date()))) == 450

            clock.advance(2 * DAY)  # its content goes, its results stay
            assert await forget() == [2, 450, 1, 2, 450, 1]
            assert not files(tmp_path / "bodies")
            clock.advance(10 * DAY)
            assert await forget() == [1, 0, 0, 0, 0, 1]
            assert START.date() not in store.days()
            assert parts.book.get(kept.id) is not None
            assert await parts.jobs.content(TENANT, kept.id) is not None

    asyncio.run(main())


def files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def test_contents_of_templates_stay(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock(START)
        async with sealed_by(tmp_path, MemoryStaging(), clock) as (parts, _, _sealing):
            store = parts.store
            await parts.templates.create(TENANT, "news", b"{}", author="me")
            clock.advance(400 * DAY)
            forgetting = Forgetting(store, lambda name: None, store.drop_day)
            await forgetting.run_once(RETENTION, [], clock.now())
            template = await parts.templates.get(TENANT, "news")
            assert template is not None
            assert template.content == b"{}"
            (rows,) = await store.read(Query("refs", select(contents.c.refs))())
            assert rows == [(1,)]

    asyncio.run(main())
