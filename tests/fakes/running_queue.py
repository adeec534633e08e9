"""A queue whose scheduler runs, and waiting for what it does."""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.queueing import Queue


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, for two minutes at most."""
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.005)


async def running(queue: Queue, body: Callable[[], Awaitable[None]]) -> None:
    """Let the scheduler of ``queue`` run while ``body`` does."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.scheduler.run())
        try:
            await body()
        finally:
            queue.scheduler.stop()
