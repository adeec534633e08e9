"""Many waits with one timer."""

import asyncio

import pytest

from mailwright.queue.patience import Patience, WaitOverError


def test_a_wait_that_takes_too_long_ends() -> None:
    async def main() -> None:
        patience = Patience()
        future = asyncio.get_running_loop().create_future()
        patience.add(future, 0.01)
        with pytest.raises(WaitOverError):
            async with asyncio.timeout(120):
                await future

    asyncio.run(main())


def test_what_is_done_or_removed_in_time_is_left_alone() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        patience = Patience()
        done, removed, late = (loop.create_future() for _ in range(3))
        patience.add(done, 0.001)
        patience.add(removed, 0.001)
        patience.add(late, 0.02)
        done.set_result(1)
        patience.remove(removed)
        with pytest.raises(WaitOverError):
            async with asyncio.timeout(120):
                await late
        assert await done == 1
        assert not removed.done()

    asyncio.run(main())


def test_each_has_its_own_end_and_the_timer_is_set_anew() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        patience = Patience()
        order: list[int] = []
        futures = []
        for number in range(3):
            future = loop.create_future()
            future.add_done_callback(lambda _done, n=number: order.append(n))
            patience.add(future, 0.01 * (number + 1))
            futures.append(future)
        async with asyncio.timeout(120):
            await asyncio.wait(futures)
        assert order == [0, 1, 2]
        assert all(type(each.exception()) is WaitOverError for each in futures)
        # It is used again after all have ended.
        again = loop.create_future()
        patience.add(again, 0.01)
        with pytest.raises(WaitOverError):
            await again

    asyncio.run(main())
