"""A whole queue that people operate: on a real store, its books balance at the end."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fakes.queueing import (
    OTHER_SOURCE,
    POOL,
    SOURCE,
    Queue,
    make_directory,
    make_submission,
    open_queue,
    rows_of,
)
from mailwright.accounts.directory import Directory, Pool
from mailwright.ids import PoolId
from mailwright.queue.tables import deliveries, lines

OTHER_POOL: Final = PoolId(2)
WHO: Final = {"reason": "a test", "author": "cli:test"}
#: For conditions, on a machine that is busy with other things.
_WITHIN_S: Final = 240


def drive(
    folder: Path, test: Callable[[Queue], Awaitable[None]], **changes: Any
) -> None:
    """Run ``test`` with a queue that does not run yet, opened with ``changes``."""

    async def scenario() -> None:
        async with asyncio.timeout(_WITHIN_S), open_queue(folder, **changes) as queue:
            await test(queue)
            await check_balance(queue)

    asyncio.run(scenario())


async def running(queue: Queue, body: Callable[[], Awaitable[None]]) -> None:
    """Run the queue, and what operates it, while ``body`` runs."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.scheduler.run())
        operating = tasks.create_task(queue.operations.run())
        try:
            await body()
        finally:
            queue.scheduler.stop()
            operating.cancel()


async def accept(queue: Queue, *recipients: str, **changes: object) -> str:
    """Accept a message and return its public id."""
    return (await queue.intake.accept(make_submission(*recipients, **changes))).message


async def finished(queue: Queue, count: int) -> dict[str, int]:
    """Return how all have ended that have, once ``count`` have."""
    while len(found := await queue.finished()) < count:
        await asyncio.sleep(0.005)
    return found


async def check_balance(queue: Queue) -> None:
    """See that every line counts what is in it, in memory and in its row."""
    rows = await rows_of(queue.store, deliveries)
    in_lines = Counter(row[2] for row in rows)
    counted = {row[0]: row[9] for row in await rows_of(queue.store, lines) if row[9]}
    assert counted == in_lines
    assert {line.id: line.count for line in queue.book if line.count} == in_lines


def two_pools() -> Directory:
    """Return settings with ``OTHER_POOL``, which has the other source."""
    pools = {
        POOL: Pool(POOL, "default", ((SOURCE, 1),)),
        OTHER_POOL: Pool(OTHER_POOL, "other", ((OTHER_SOURCE, 1),)),
    }
    return replace(make_directory(SOURCE, OTHER_SOURCE), pools=pools)
