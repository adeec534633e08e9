"""A receiver that greets and hangs up is left alone for a while, and mail says why."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.queueing import ScriptedCourier, make_submission, open_queue
from mailwright.attempt import Attempt, End
from mailwright.queue.delivery import State
from mailwright.reply import Phase, local_reply

LOST = local_reply(421, "4.4.2", "connection closed by the receiver", Phase.MAIL)


class HangsUp(ScriptedCourier):
    """Takes mail, and loses the connection before any of it is offered."""

    hangs_up = True

    async def carry(self, site, source, feed):
        if not self.hangs_up:
            return await super().carry(site, source, feed)
        self.connections[site.key] += 1
        for parcel in await feed.take(2):
            feed.settle(Attempt(parcel, End.NOT_OFFERED, LOST))
        return LOST


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("letters", [1, 90])
def test_a_receiver_that_hangs_up_at_the_first_mail_is_not_hammered(
    tmp_path: Path, letters: int
) -> None:
    async def scenario() -> None:
        courier = HangsUp()
        recipients = [f"u{number}@x.example" for number in range(letters)]
        async with open_queue(tmp_path, courier=courier) as queue:
            await queue.intake.accept(make_submission(*recipients))

            async def is_deferred() -> bool:
                events = await queue.events()
                return sum(kind == "deferred" for kind, _ in events) >= 2 * letters

            async def is_delivered() -> bool:
                return len(await queue.finished()) == letters

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())
                await until(is_deferred)
                connections = courier.connections["x.example"]
                courier.hangs_up = False
                await until(is_delivered)
                queue.scheduler.stop()
            events = [(kind, json.loads(data)) for kind, data in await queue.events()]
            deferred = [data for kind, data in events if kind == "deferred"]
            # Each connection ends an attempt of what it took, and lets the rest wait.
            assert connections <= len(deferred)
            assert {data["text"] for data in deferred} == {LOST.text}
            assert set((await queue.finished()).values()) == {State.DELIVERED}
            assert set(courier.carried.values()) == {1}

    asyncio.run(scenario())
