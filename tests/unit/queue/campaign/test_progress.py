"""How far campaigns are, and when they are over."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.campaigns import TENANT, new_campaign
from fakes.staged import MemoryStaging
from mailwright.clock import ManualClock
from mailwright.queue.campaign.job import JobState
from mailwright.queue.campaign.progress import Progress
from mailwright.queue.delivery import State
from mailwright.store.statements import Unit
from unit.queue.campaign.test_sealing import sealed_by, staged

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


async def end(store, book, state: State, count: int) -> None:
    """End ``count`` of what waits."""
    from mailwright.queue.claimed import claimed_of
    from mailwright.queue.operation_statements import WAITING_OF_LINE
    from mailwright.queue.settle import end_waiting

    (line,) = list(book)
    (rows,) = await store.read(
        WAITING_OF_LINE(line_id=line.id, before=1 << 62, slice=count)
    )
    steps = tuple(
        end_waiting(claimed_of(line, row), state, node=store.node, now=START)
        for row in rows
    )
    await store.run(Unit(steps))


async def running(parts, sealing, staging, count: int):
    made = await parts.jobs.create(new_campaign())
    # One domain and one timezone: one line.
    staging.uploaded[made.id] = staged(count)
    await parts.jobs.start(TENANT, made.id, "me")
    await sealing.seal(made.id)
    return made.id


class OneZone(MemoryStaging):
    def _prepare(self, *about):
        found = super()._prepare(*about)
        found.rows = [each._replace(timezone="") for each in found.rows]
        return found


def test_a_campaign_is_done_when_nothing_is_queued_and_not_before(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        staging, clock = OneZone(), ManualClock(START)
        async with sealed_by(tmp_path, staging, clock) as (parts, book, sealing):
            progress = Progress(parts.store, parts.book, clock)
            ident = await running(parts, sealing, staging, 30)
            await progress.look()
            known = parts.book.get(ident)
            assert known is not None
            assert known.totals == {(State.QUEUED, ""): 30}
            await end(parts.store, book, State.EXPIRED, 29)
            await progress.look()
            known = parts.book.get(ident)
            assert known is not None
            assert known.totals == {(State.QUEUED, ""): 1, (State.EXPIRED, ""): 29}
            assert known.state is JobState.RUNNING
            await parts.jobs.pause(TENANT, ident, "me")
            await end(parts.store, book, State.EXPIRED, 1)
            await progress.look()
            assert parts.book.get(ident) is None
            found = await parts.jobs.get(TENANT, ident)
            assert found is not None
            assert found.state is JobState.DONE
            assert found.finished_at == START
            assert found.deliveries["expired"] == 30

    asyncio.run(main())


def test_a_campaign_that_ended_while_nobody_looked_ends_in_the_next_life(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        staging, clock = OneZone(), ManualClock(START)
        async with sealed_by(tmp_path, staging, clock) as (parts, book, sealing):
            ident = await running(parts, sealing, staging, 3)
            await end(parts.store, book, State.EXPIRED, 3)
        async with sealed_by(tmp_path, staging, clock) as (parts, _, _sealing):
            assert parts.book.get(ident) is not None
            await Progress(parts.store, parts.book, clock).look()
            assert parts.book.get(ident) is None

    asyncio.run(main())


def test_a_draft_and_an_unfinished_seal_are_not_over(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock(START)
        async with sealed_by(tmp_path, OneZone(), clock) as (parts, _, _sealing):
            made = await parts.jobs.create(new_campaign())
            await parts.jobs.start(TENANT, made.id, "me")
            await Progress(parts.store, parts.book, clock).look()
            known = parts.book.get(made.id)
            assert known is not None
            assert known.state is JobState.SEALING

    asyncio.run(main())


def test_a_rate_is_of_the_last_minute_and_starts_anew_after_a_pause(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        staging, clock = OneZone(), ManualClock(START)
        async with sealed_by(tmp_path, staging, clock) as (parts, book, sealing):
            progress = Progress(parts.store, parts.book, clock)
            ident = await running(parts, sealing, staging, 100)
            await progress.look()
            assert progress.per_minute(ident) is None
            for _ in range(4):
                await end(parts.store, book, State.EXPIRED, 10)
                clock.advance(10)
                await progress.look()
            assert progress.per_minute(ident) == pytest.approx(60)
            await parts.jobs.pause(TENANT, ident, "me")
            await progress.look()
            assert progress.per_minute(ident) is None

    asyncio.run(main())


def test_when_it_will_be_over_is_only_told_if_it_is_known(tmp_path: Path) -> None:
    from dataclasses import replace

    from mailwright.queue.campaign.results import eta_of

    async def main() -> None:
        staging, clock = OneZone(), ManualClock(START)
        async with sealed_by(tmp_path, staging, clock) as (parts, _, sealing):
            ident = await running(parts, sealing, staging, 1)
            known = parts.book.get(ident)
            assert known is not None
            hour = timedelta(hours=1)
            assert eta_of(known, 60, None, START) is None
            assert eta_of(known, 60, 1.0, START) == START + hour
            paced = replace(known, pace_per_hour=30)
            assert eta_of(paced, 60, None, START) == START + 2 * hour
            assert eta_of(paced, 60, 1.0, START) == START + 2 * hour
            later = replace(paced, send_at=START + hour)
            assert eta_of(later, 60, 99.0, START) == START + 3 * hour
            windowed = replace(paced, window={"timezone": "UTC"})
            assert eta_of(windowed, 60, 1.0, START) is None
            assert eta_of(replace(known, state=JobState.PAUSED), 6, 1.0, START) is None
            assert eta_of(known, 10**15, 1e-3, START) is None

    asyncio.run(main())
