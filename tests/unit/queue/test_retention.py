"""Forgetting: what is over goes, what is under way stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fakes.queueing import make_submission, open_queue, rows_of
from mailwright.clock import ManualClock
from mailwright.queue.content import Contents
from mailwright.queue.delivery import State
from mailwright.queue.retention import Forgetting, Retention
from mailwright.queue.statements import FINISH_QUEUED
from mailwright.queue.tables import contents, deliveries, messages
from mailwright.store.bodies import BodyStore
from mailwright.store.statements import unit

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RETENTION = Retention(timedelta(hours=24), timedelta(days=3))


def test_contents_go_first_then_messages_and_days(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock(START)
        async with open_queue(tmp_path, clock=clock) as queue:
            store = queue.store
            bodies = BodyStore(tmp_path / "bodies")
            forgetting = Forgetting(store, bodies.remove, store.drop_day)

            async def forget() -> tuple[int, int, int]:
                await forgetting.run_once(RETENTION, store.days(), clock.now())
                return (
                    len(await rows_of(store, contents)),
                    len(await rows_of(store, messages)),
                    len(store.days()),
                )

            small = await queue.intake.accept(make_submission("a@x.example", at=START))
            large = await queue.intake.accept(
                make_submission("b@x.example", at=START, body=b"x" * 70_000 + b"\r\n")
            )
            assert small.message != large.message
            (file,) = list((tmp_path / "bodies").rglob("00*"))
            assert await forget() == (2, 2, 2)

            rows = await rows_of(store, deliveries)
            gone = (FINISH_QUEUED(delivery_id=row[0], line_id=row[2]) for row in rows)
            await store.run(unit(*gone))
            assert await forget() == (2, 2, 2)

            clock.advance(25 * 3600)
            assert await forget() == (0, 2, 2)
            assert not file.exists()

            clock.advance(4 * 24 * 3600)
            assert await forget() == (0, 0, 0)

    asyncio.run(scenario())


def test_what_is_under_way_is_kept_however_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock(START)
        async with open_queue(tmp_path, clock=clock) as queue:
            store = queue.store
            forgetting = Forgetting(store, lambda name: None, store.drop_day)
            await queue.intake.accept(make_submission("a@x.example", at=START))
            clock.advance(40 * 24 * 3600)
            await forgetting.run_once(RETENTION, [], clock.now())
            assert len(await rows_of(store, contents)) == 1
            (row,) = await rows_of(store, deliveries)
            assert row[7] == State.QUEUED
            read = Contents(store, lambda name: b"")
            (content,) = (await read.get([row[1]])).values()
            assert content.body == b"Hello\r\n"

    asyncio.run(scenario())
