"""What a crash may cost in copies is bounded by what may be sending at once."""

import asyncio
from pathlib import Path

from fakes.queueing import (
    LATER,
    OK,
    PROFILE,
    ScriptedCourier,
    make_submission,
    open_queue,
)
from mailwright.attempt import End
from mailwright.clock import ManualClock
from mailwright.queue.in_flight import PER_CONNECTION, WINDOW_S, InFlight
from mailwright.queue.settlement import Settlement
from unit.queue.test_flow import running, settled, until


def test_two_for_each_connection_and_what_leaves_in_50_ms() -> None:
    clock = ManualClock()
    in_flight = InFlight(clock, lambda: 5)
    assert in_flight.room == 5 * PER_CONNECTION
    in_flight.began(10)
    assert in_flight.room == 0
    in_flight.unclaimed(3)
    assert in_flight.room == 3
    for _ in range(1000):
        in_flight.began(1)
        clock.advance(0.001)
        in_flight.settled()
    assert in_flight.count == 7
    # 1 000/s, of which a measure of two halves has seen three quarters.
    assert in_flight.room == int(10 + 750 * WINDOW_S) - 7


def test_without_a_connection_there_is_room_for_the_first() -> None:
    assert InFlight(ManualClock(), lambda: 0).room == PER_CONNECTION


def test_who_waits_goes_on_when_a_settle_is_stored() -> None:
    async def scenario() -> None:
        in_flight = InFlight(ManualClock(), lambda: 1)
        in_flight.began(2)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(in_flight.wait_for_room())
            await asyncio.sleep(0)
            assert not waiting.done()
            in_flight.settled()
            async with asyncio.timeout(120):
                await waiting
        assert in_flight.room == 1

    asyncio.run(scenario())


def test_a_node_that_cannot_store_settles_stops_claiming_at_the_bound(
    tmp_path: Path,
) -> None:
    """The control is the queue itself: 400 were ready, and none was kept back before."""
    held = []

    async def scenario() -> None:
        courier = ScriptedCourier(lambda _parcel, _source: (End.REPLIED, OK))
        async with open_queue(tmp_path, courier=courier, connections=4) as queue:
            settle = queue.settlement.settle
            queue.settlement.settle = lambda *args, **named: held.append((args, named))

            async def body() -> None:
                for n in range(8):
                    recipients = [f"u{n}-{m}@d{m % 3}.example" for m in range(50)]
                    await queue.intake.accept(make_submission(*recipients))

                async def is_full() -> bool:
                    return len(held) >= PER_CONNECTION

                await until(is_full)
                for _ in range(50):
                    await asyncio.sleep(0.002)  # the lanes would go on if they might
                assert len(held) <= PER_CONNECTION * 4
                queue.settlement.settle = settle
                while held:
                    args, named = held.pop()
                    settle(*args, **named)
                await settled(queue, 400)

            await running(queue, body)
            assert isinstance(queue.settlement, Settlement)

    asyncio.run(scenario())


def test_a_restart_opens_no_connection_for_mail_that_is_not_due(tmp_path: Path) -> None:
    late = PROFILE.__class__(
        PROFILE.provider,
        PROFILE.connections,
        PROFILE.messages_per_connection,
        PROFILE.pipelining,
        PROFILE.tls,
        retry=(3600.0,),
    )

    async def scenario() -> None:
        courier = ScriptedCourier(lambda _parcel, _source: (End.REPLIED, LATER))
        async with open_queue(tmp_path, courier=courier, profile=late) as queue:

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))

                async def is_deferred() -> bool:
                    return [kind for kind, _ in await queue.events()][-1:] == [
                        "deferred"
                    ]

                await until(is_deferred)
                # Something that is due shows that the other is not.
                await queue.intake.accept(make_submission("b@x.example"))

                async def both() -> bool:
                    kinds = [kind for kind, _ in await queue.events()]
                    return kinds.count("deferred") == 2

                await until(both)

            await running(queue, body)
        again = ScriptedCourier()
        async with open_queue(tmp_path, courier=again, profile=late) as queue:

            async def nothing_more() -> None:
                await queue.intake.accept(make_submission("c@y.example"))
                await settled(queue, 1)

            await running(queue, nothing_more)
            assert again.connections == {"y.example": 1}

    asyncio.run(scenario())
