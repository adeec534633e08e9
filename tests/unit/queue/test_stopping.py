"""Stopping all mail and releasing it, on a real store."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.operated_queue import WHO, accept, drive, finished, running
from fakes.queueing import (
    Queue,
    ScriptedCourier,
    rows_of,
)
from mailwright.attempt import Attempt
from mailwright.ids import PoolId, TenantId
from mailwright.queue.delivery import State
from mailwright.queue.explain import block_of
from mailwright.queue.selection import EVERYTHING, Selection, SelectionError
from mailwright.queue.stopping import Stopping
from mailwright.queue.tables import deliveries
from mailwright.reply import Phase, local_reply

#: Several turns of the scheduler: enough for whatever is going to leave.
TURNS = 20


async def turns(queue: Queue) -> None:
    """Let the scheduler look at everything, several times."""
    for _ in range(TURNS):
        queue.scheduler.wake()
        await queue.store.read()
        await asyncio.sleep(0)


def stopping_of(queue: Queue) -> Stopping:
    return Stopping(queue.store, queue.clock, queue.store.ids.take, queue.operations)


def test_nothing_leaves_while_all_mail_is_stopped_and_all_of_it_afterwards(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        stopping = stopping_of(queue)
        await accept(queue, "a@x.example", "b@y.example")
        await stopping.stop_all(**WHO)

        async def body() -> None:
            await accept(queue, "c@x.example", "d@z.example", tenant=TenantId(2))
            await turns(queue)
            assert not queue.courier.carried
            assert {row[7] for row in await rows_of(queue.store, deliveries)} == {0}
            for line in queue.book:
                block = block_of(
                    line,
                    holds=queue.operations.holds,
                    scheduler=queue.scheduler,
                    now=queue.clock.now(),
                )
                assert block is not None
                assert block.by == "hold"
                assert "a test" in block.reason
            ended = await stopping.release_all()
            assert [each.reason for each in ended] == ["a test"]
            assert set((await finished(queue, 4)).values()) == {State.DELIVERED}

        await running(queue, body)

    drive(tmp_path, test)


class OneAtATime(ScriptedCourier):
    """Carries one delivery at a time and waits for a sign before the next."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Semaphore(0)
        self.took = asyncio.Event()

    async def carry(self, site, source, feed):
        while parcels := await feed.take(1):
            self.took.set()
            await self.go.acquire()
            for parcel in parcels:
                self.carried[parcel.recipient] += 1
                feed.settle(Attempt(parcel, *self.script(parcel, source)))


def test_what_is_in_a_session_ends_and_nothing_more_is_claimed(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        courier = queue.courier
        assert isinstance(courier, OneAtATime)
        stopping = stopping_of(queue)
        await accept(queue, *(f"{n}@x.example" for n in range(10)))

        async def body() -> None:
            await courier.took.wait()
            await stopping.stop_all(**WHO)
            for _ in range(100):
                courier.go.release()
            await finished(queue, 1)
            await turns(queue)
            # One was in each session; more would have been claimed after the stop.
            under_way = len(courier.carried)
            assert 1 <= under_way <= 3
            assert len(await rows_of(queue.store, deliveries)) == 10 - under_way
            await stopping.release_all()
            await finished(queue, 10)

        await running(queue, body)
        assert set(courier.carried.values()) == {1}

    drive(tmp_path, test, courier=OneAtATime())


def test_a_domain_that_turns_out_to_be_nowhere_ends_nothing_during_a_stop(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        stopping = stopping_of(queue)
        asked, answer = asyncio.Event(), asyncio.Event()

        async def site_of(_domain: str):
            asked.set()
            await answer.wait()
            return local_reply(550, "5.1.2", "no such domain", Phase.CONNECT)

        queue.router.site_of = site_of
        await accept(queue, "a@x.example")

        async def body() -> None:
            await asked.wait()
            await stopping.stop_all(**WHO)
            answer.set()
            await turns(queue)
            assert await queue.finished() == {}
            await stopping.release_all()
            assert await finished(queue, 1) == {"a@x.example": State.BOUNCED}

        await running(queue, body)

    drive(tmp_path, test)


def test_a_stop_that_was_written_while_no_node_ran_is_in_force_at_the_start(
    tmp_path: Path,
) -> None:
    async def at_rest(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        resting = Stopping(queue.store, queue.clock, queue.store.ids.take)
        await resting.stop_all(**WHO)
        assert [each.author for each in await resting.stops()] == ["cli:test"]

    async def at_work(queue: Queue) -> None:
        stopping = stopping_of(queue)
        assert [each.author for each in await stopping.stops()] == ["cli:test"]

        async def body() -> None:
            await turns(queue)
            assert not queue.courier.carried

        await running(queue, body)

    async def released(queue: Queue) -> None:
        resting = Stopping(queue.store, queue.clock, queue.store.ids.take)
        assert len(await resting.release_all()) == 1
        assert await resting.release_all() == []

    async def free(queue: Queue) -> None:
        async def body() -> None:
            await finished(queue, 1)

        await running(queue, body)

    for test in (at_rest, at_work, released, free):
        drive(tmp_path, test)


def test_a_stop_ends_by_itself_when_it_was_given_an_end(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        end = datetime.now(UTC) + timedelta(milliseconds=200)
        await stopping_of(queue).stop_all(ends_at=end, **WHO)

        async def body() -> None:
            await finished(queue, 1)
            assert datetime.now(UTC) >= end

        await running(queue, body)

    drive(tmp_path, test)


def test_a_release_of_all_mail_leaves_other_holds_in_force(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        stopping = stopping_of(queue)
        await accept(queue, "a@x.example", "b@y.example")
        narrow = Selection(domain="x.example")
        await queue.operations.hold(narrow, **WHO)
        await stopping.stop_all(**WHO)
        # Nor does a release of less end the stop.
        ended, _ = await queue.operations.release(narrow, dry_run=True)
        assert [each.selection for each in ended] == [narrow]

        async def body() -> None:
            await stopping.release_all()
            assert set(await finished(queue, 1)) == {"b@y.example"}
            await turns(queue)
            assert set(await queue.finished()) == {"b@y.example"}

        await running(queue, body)

    drive(tmp_path, test)


def test_everything_is_for_stops_alone(tmp_path: Path) -> None:
    with pytest.raises(SelectionError):
        Selection(everything=True, domain="x.example")

    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        with pytest.raises(SelectionError):
            await queue.operations.cancel(EVERYTHING, **WHO)
        with pytest.raises(SelectionError):
            await queue.operations.move(EVERYTHING, PoolId(2))
        assert len(queue.operations.holds) == 0

    drive(tmp_path, test)
