import asyncio

from mailwright.mta.submission.budget import ByteBudget


def test_what_is_free_is_taken_at_once_and_given_back() -> None:
    budget = ByteBudget(100)
    assert budget.try_acquire(60)
    assert not budget.try_acquire(41)
    assert budget.try_acquire(40)
    assert budget.free == 0
    budget.release(100)
    assert budget.free == 100


def test_waiters_are_served_in_turn_and_nobody_overtakes() -> None:
    async def scenario() -> None:
        budget = ByteBudget(100)
        assert budget.try_acquire(90)
        order: list[str] = []

        async def want(name: str, octets: int) -> None:
            assert await budget.acquire(octets, within_s=60)
            order.append(name)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(want("big", 80))
            await asyncio.sleep(0)
            tasks.create_task(want("small", 5))
            await asyncio.sleep(0)
            assert not budget.try_acquire(1), "ten are free, but others wait"
            budget.release(90)
        assert order == ["big", "small"]
        assert budget.free == 15

    asyncio.run(scenario())


def test_who_waits_too_long_gets_nothing_and_lets_the_next_one_by() -> None:
    async def scenario() -> None:
        budget = ByteBudget(100)
        assert budget.try_acquire(90)
        async with asyncio.TaskGroup() as tasks:
            late = tasks.create_task(budget.acquire(50, within_s=0.01))
            await asyncio.sleep(0)
            small = tasks.create_task(budget.acquire(10, within_s=60))
        assert late.result() is False
        assert small.result() is True
        assert budget.free == 0

    asyncio.run(scenario())


def test_more_than_there_is_at_all_is_refused_at_once() -> None:
    assert asyncio.run(ByteBudget(100).acquire(101, within_s=3_600)) is False


def test_a_waiter_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        budget = ByteBudget(100)
        assert budget.try_acquire(100)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(budget.acquire(50, within_s=60))
            await asyncio.sleep(0)
            waiting.cancel()
        budget.release(100)
        assert budget.free == 100

        assert budget.try_acquire(100)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(budget.acquire(50, within_s=60))
            await asyncio.sleep(0)
            budget.release(100)  # it is granted, and cancelled before it knows
            waiting.cancel()
        assert budget.free == 100

    asyncio.run(scenario())
