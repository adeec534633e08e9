"""What waits for a limit goes on as soon as the limit, or a hold, is another."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fakes.queueing import (
    LATER,
    OK,
    OTHER_SOURCE,
    PROFILE,
    SOURCE,
    Queue,
    ScriptedCourier,
    make_directory,
    make_submission,
    open_queue,
    rows_of,
)
from fakes.running_queue import running
from mailwright.attempt import End
from mailwright.clock import ManualClock
from mailwright.config.units import parse_rate
from mailwright.queue.selection import Selection
from mailwright.queue.tables import deliveries
from mailwright.reply import Phase, Reply
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.throttle import Key, Throttle
from mailwright.site import Hop, Limits, Site
from mailwright.store.statements import unit


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.005)


async def look_around(queue: Queue, seconds: float = 5) -> None:
    """Let time pass and the scheduler look at everything that is due."""
    assert isinstance(queue.clock, ManualClock)
    queue.clock.advance(seconds)
    queue.scheduler.wake()
    for _ in range(5):
        await asyncio.sleep(0)
        await queue.store.run(unit())  # whatever was handed in is stored


class Limited:
    """A limit that can be changed."""

    def __init__(self, rate: str, *per: Key, source: int | None = None) -> None:
        self.per = frozenset(per)
        self.match = () if source is None else ((Key.SOURCE, source),)
        self.set(rate)

    def set(self, rate: str) -> None:
        limit = Throttle(parse_rate(rate), self.per, self.match, ident="#1")
        self.throttles = (limit,)

    def book(self) -> LimitBook:
        return LimitBook(lambda: self.throttles)


@pytest.mark.parametrize("per", [Key.TENANT, Key.PROVIDER], ids=["line", "lane"])
def test_a_raised_limit_acts_on_what_waits_for_it(tmp_path: Path, per: Key) -> None:
    limited = Limited("1/h", per)

    async def scenario() -> None:
        async with open_queue(
            tmp_path, limits=limited.book(), clock=ManualClock()
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(3)]
                at = queue.clock.now()
                await queue.intake.accept(make_submission(*names, at=at))
                (line,) = queue.book

                def waits() -> bool:
                    is_refused = queue.scheduler.why_waiting(line) is not None
                    is_idle = queue.scheduler.connections == 0 and not line.sending
                    return is_idle and (is_refused or line.waits_for_limit)

                await until(waits)
                assert queue.courier.carried.total() == 1

                limited.set("100/s burst 10")
                await look_around(queue)
                assert queue.courier.carried.total() == 1, "the control: nobody asked"

                await queue.scheduler.reconsider()
                await until(lambda: queue.courier.carried.total() == 3)

            await running(queue, body)

    asyncio.run(scenario())


def test_a_lowered_limit_does_not_give_its_burst_again(tmp_path: Path) -> None:
    limited = Limited("10/h burst 5", Key.PROVIDER)

    async def scenario() -> None:
        async with open_queue(
            tmp_path, limits=limited.book(), clock=ManualClock()
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(9)]
                at = queue.clock.now()
                await queue.intake.accept(make_submission(*names, at=at))
                await until(lambda: queue.courier.carried.total() == 5)
                limited.set("9/h burst 4")
                await queue.scheduler.reconsider()
                await look_around(queue)
                assert queue.courier.carried.total() == 5

            await running(queue, body)

    asyncio.run(scenario())


def test_retries_that_wait_for_their_source_leave_when_it_may(tmp_path: Path) -> None:
    """They are bound to the source of their first attempt and lie in the database."""
    limited = Limited("2/h burst 2", source=SOURCE.id)
    tries: dict[str, int] = {}

    def script(parcel, source):
        tries[parcel.recipient] = tries.get(parcel.recipient, 0) + 1
        return End.REPLIED, LATER if tries[parcel.recipient] == 1 else OK

    async def scenario() -> None:
        async with open_queue(
            tmp_path,
            limits=limited.book(),
            clock=ManualClock(),
            courier=ScriptedCourier(script),
            directory=make_directory(SOURCE, OTHER_SOURCE),
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(4)]
                at = queue.clock.now()
                await queue.intake.accept(make_submission(*names, at=at))
                await until(lambda: len(tries) == 4)
                due = list(deliveries.c.keys()).index("due_at")
                horizon = (queue.clock.now() + timedelta(minutes=5)).timestamp() * 1e6

                async def wait() -> bool:
                    rows = await rows_of(queue.store, deliveries)
                    return len(rows) == 2 and all(row[due] > horizon for row in rows)

                async with asyncio.timeout(120):
                    while not await wait():
                        await look_around(queue, 0.1)
                assert sorted(tries.values()) == [1, 1, 2, 2]

                limited.set("100/s burst 10")
                await look_around(queue)
                assert sorted(tries.values()) == [1, 1, 2, 2], "the control"

                await queue.scheduler.reconsider()
                await until(lambda: set(tries.values()) == {2})

            await running(queue, body)

    asyncio.run(scenario())


def test_what_rests_for_a_dead_host_goes_on_resting(tmp_path: Path) -> None:
    dead = Reply(421, "4.4.1", "nobody answers", Phase.CONNECT)

    async def scenario() -> None:
        courier = ScriptedCourier(unreachable={"x.example": dead})
        async with open_queue(tmp_path, courier=courier, clock=ManualClock()) as queue:

            async def body() -> None:
                at = queue.clock.now()
                await queue.intake.accept(make_submission("a@x.example", at=at))
                (line,) = queue.book
                await until(lambda: line.wait_until is not None)
                rests_until = line.wait_until
                await queue.scheduler.reconsider()
                await look_around(queue, 0)
                assert courier.connections["x.example"] == 1
                assert line.wait_until == rests_until

            await running(queue, body)

    asyncio.run(scenario())


def test_a_released_line_is_tried_at_once_whatever_it_rested_for(
    tmp_path: Path,
) -> None:
    dead = Reply(421, "4.4.1", "nobody answers", Phase.CONNECT)

    async def scenario() -> None:
        courier = ScriptedCourier(unreachable={"x.example": dead})
        profile = replace(PROFILE, retry=(600.0,))
        async with open_queue(
            tmp_path, courier=courier, clock=ManualClock(), profile=profile
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(60)]  # some are not deferred
                at = queue.clock.now()
                await queue.intake.accept(make_submission(*names, at=at))
                (line,) = queue.book
                await until(lambda: line.wait_until is not None)
                x = Selection(domain="x.example")
                await queue.operations.hold(x, reason="r", author="a")
                courier.unreachable.clear()
                await look_around(queue)
                assert courier.carried.total() == 0
                await queue.operations.release(x)
                await until(lambda: courier.carried.total() == 10)

            await running(queue, body)

    asyncio.run(scenario())


def test_another_profile_counts_for_a_lane_that_always_has_mail(
    tmp_path: Path,
) -> None:
    """Its connections are open and carry on: they end with what they carry."""
    slow = replace(PROFILE, overall=Limits(throttles=("1/h burst 2",)), connections=1)
    fast = replace(PROFILE, connections=2)

    def site(profile):
        return Site("s", (Hop("mx.x.example", 25),), (10,), profile, until=1e12)

    async def scenario() -> None:
        async with open_queue(tmp_path, clock=ManualClock()) as queue:
            queue.router.answers["x.example"] = site(slow)

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(20)]
                at = queue.clock.now()
                await queue.intake.accept(make_submission(*names, at=at))
                await until(lambda: queue.courier.carried.total() == 2)

                queue.router.answers["x.example"] = site(fast)
                await queue.scheduler.reconsider()
                await look_around(queue)
                assert queue.courier.carried.total() == 2, "the control: the old lane"

                queue.scheduler.forget_sites()
                for line in list(queue.book):
                    queue.scheduler.restart(line)
                await until(lambda: queue.courier.carried.total() == 20)
                lanes = {id(lane.site.profile) for lane in queue.scheduler.lanes()}
                assert lanes <= {id(fast)}

            await running(queue, body)

    asyncio.run(scenario())
