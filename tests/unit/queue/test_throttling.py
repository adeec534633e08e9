"""Lanes under limits: what may leave does, the rest waits and says why."""

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
from fakes.running_queue import running, until
from fakes.slowness import allowed
from mailwright.attempt import End
from mailwright.clock import ClockTrust
from mailwright.config.units import parse_rate
from mailwright.ids import TenantId
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries
from mailwright.reputation.limits import LimitBook
from mailwright.reputation.throttle import Key, Throttle
from mailwright.site import Hop, Limits, Profile, Site


async def sent(queue: Queue, count: int) -> None:
    """Wait until ``count`` deliveries left and are settled."""

    async def enough() -> bool:
        carried = queue.courier.carried.total()
        return carried >= count and not any(line.sending for line in queue.book)

    await until(enough)


def limits(*throttles: Throttle) -> LimitBook:
    return LimitBook(lambda: throttles)


def throttle(rate: str, *per: Key) -> Throttle:
    return Throttle(parse_rate(rate), frozenset(per))


def site_at(provider: Profile, name: str) -> Site:
    return Site(name, (Hop(f"mx.{name}", 25),), (10,), provider, until=1e12)


class Timed:
    """A script that takes everything and remembers when."""

    def __init__(self) -> None:
        self.at: dict[str, list[float]] = defaultdict(list)

    def __call__(self, parcel, source):
        self.at[parcel.recipient.partition("@")[2]].append(time.monotonic())
        return End.REPLIED, OK


def test_a_provider_s_rate_is_kept_over_all_its_sites_and_used(tmp_path: Path) -> None:
    google = replace(
        PROFILE, provider="google", overall=Limits(throttles=("50/s burst 5",))
    )

    async def scenario() -> None:
        script = Timed()
        began_at = time.monotonic()
        async with open_queue(
            tmp_path, courier=ScriptedCourier(script), profile=google
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@d{n % 6}.example" for n in range(60)]
                for start in range(0, 60, 20):
                    await queue.intake.accept(
                        make_submission(*names[start : start + 20], is_bulk=True)
                    )
                await sent(queue, 60)

            await running(queue, body)
            times = sorted(at for each in script.at.values() for at in each)
            # The receiver's clock: what was granted may be held a moment on its way.
            held_s = allowed(0.1)
            for first in range(60):
                for last in range(first, 60):
                    span_s = times[last] - times[first]
                    assert last - first + 1 <= 5 + 50 * (span_s + held_s)
            # However long any of it was held, the last one was granted no earlier.
            assert times[-1] - began_at >= (60 - 5) / 50
            assert times[-1] - times[0] <= allowed(60 / 50 * 3)
            assert (
                queue.stored_limits.state.refusals["throttle 50/s burst 5 per provider"]
                > 0
            )
            assert max(len(each) for each in script.at.values()) == 10

    asyncio.run(scenario())


def test_what_waits_for_a_throttle_says_until_when_and_why(tmp_path: Path) -> None:
    slow = replace(
        PROFILE, provider="google", overall=Limits(throttles=("20/h burst 2",))
    )

    async def scenario() -> None:
        async with open_queue(tmp_path, profile=slow) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(5)]
                await queue.intake.accept(make_submission(*names))
                await sent(queue, 2)
                (line,) = queue.book

                async def waits() -> bool:
                    return (
                        queue.scheduler.why_waiting(line) is not None
                        and queue.scheduler.statistics().connections == 0
                    )

                await until(waits)
                refused = queue.scheduler.why_waiting(line)
                assert refused is not None
                assert refused.reason == ("throttle 20/h burst 2 of provider google")
                assert refused.until is not None
                wait = refused.until - datetime.now(UTC)
                assert timedelta(minutes=2) < wait <= timedelta(minutes=3)
                # It is the lane that waits: no row was touched, no connection is open.
                rows = await rows_of(queue.store, deliveries)
                assert [row[deliveries.c.keys().index("state")] for row in rows] == [
                    State.QUEUED
                ] * 3
                assert queue.courier.connections["x.example"] == 1

            await running(queue, body)

    asyncio.run(scenario())


def test_a_tenant_that_used_its_rate_does_not_stop_others_of_the_lane(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        book = limits(throttle("10/h", Key.TENANT))
        async with open_queue(tmp_path, limits=book) as queue:

            async def body() -> None:
                for tenant in (1, 2, 3):
                    names = [f"t{tenant}u{n}@x.example" for n in range(4)]
                    await queue.intake.accept(
                        make_submission(*names, tenant=TenantId(tenant))
                    )
                await sent(queue, 3)

                async def rest() -> bool:
                    return all(line.wait_until is not None for line in queue.book)

                await until(rest)
                assert {name[:2] for name in queue.courier.carried} == {
                    "t1",
                    "t2",
                    "t3",
                }
                assert {line.wait_reason for line in queue.book} == {
                    "throttle 10/h of this tenant"
                }
                assert all(
                    queue.scheduler.why_waiting(line) is None for line in queue.book
                )

                async def quiet() -> bool:
                    state = queue.scheduler.statistics()
                    return (state.lanes, state.connections) == (0, 0)

                await until(quiet)
                assert queue.courier.carried.total() == 3

            await running(queue, body)

    asyncio.run(scenario())


def test_transactional_mail_passes_bulk_that_waits(tmp_path: Path) -> None:
    slow = replace(PROFILE, overall=Limits(throttles=("10/h burst 10",)))

    async def scenario() -> None:
        async with open_queue(tmp_path, profile=slow) as queue:

            async def body() -> None:
                names = [f"bulk{n}@x.example" for n in range(30)]
                await queue.intake.accept(make_submission(*names, is_bulk=True))
                await sent(queue, 9)  # one is kept
                (line,) = queue.book

                async def waits() -> bool:
                    return queue.scheduler.why_waiting(line) is not None

                await until(waits)
                await queue.intake.accept(make_submission("urgent@x.example"))
                await sent(queue, 10)
                assert queue.courier.carried["urgent@x.example"] == 1

            await running(queue, body)
            assert queue.courier.carried.total() == 10

    asyncio.run(scenario())


def test_mail_leaves_from_the_next_source_when_one_is_exhausted(
    tmp_path: Path,
) -> None:
    slow = replace(PROFILE, per_source=Limits(throttles=("1/h burst 4",)))

    async def scenario() -> None:
        directory = make_directory(SOURCE, OTHER_SOURCE)
        async with open_queue(tmp_path, directory=directory, profile=slow) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(20)]
                await queue.intake.accept(make_submission(*names))
                await sent(queue, 8)

            await running(queue, body)
            used = [name for each in queue.courier.sources.values() for name in each]
            assert sorted(used) == ["main"] * 4 + ["other"] * 4
            rows = await rows_of(queue.store, deliveries)
            # What was never offered is bound to no source.
            assert [row[deliveries.c.keys().index("source")] for row in rows] == [
                None
            ] * 12

    asyncio.run(scenario())


def test_a_retry_waits_for_the_source_of_its_first_attempt(tmp_path: Path) -> None:
    slow = replace(PROFILE, per_source=Limits(throttles=("2/s",)), retry=(0.02,))
    tries: defaultdict[str, list[str]] = defaultdict(list)

    def script(parcel, source):
        tries[parcel.recipient].append(source.name)
        return End.REPLIED, LATER if len(tries[parcel.recipient]) < 2 else OK

    async def scenario() -> None:
        directory = make_directory(SOURCE, OTHER_SOURCE)
        async with open_queue(
            tmp_path, courier=ScriptedCourier(script), directory=directory, profile=slow
        ) as queue:

            async def body() -> None:
                names = [f"u{n}@x.example" for n in range(4)]
                await queue.intake.accept(make_submission(*names))

                async def done() -> bool:
                    return len(await queue.finished()) == 4

                await until(done)

            await running(queue, body)
            assert all(len(each) == 2 for each in tries.values())
            assert all(len(set(each)) == 1 for each in tries.values())
            assert {each[0] for each in tries.values()} == {"main", "other"}

    asyncio.run(scenario())


def test_nothing_expires_while_the_clock_is_suspect(tmp_path: Path) -> None:
    trust = ClockTrust()
    trust.compared(timedelta(days=3))

    async def scenario() -> None:
        courier = ScriptedCourier(lambda _parcel, _source: (End.REPLIED, LATER))
        async with open_queue(
            tmp_path,
            courier=courier,
            expires=timedelta(milliseconds=50),
            trust=trust,
        ) as queue:

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))

                async def tried() -> bool:
                    return courier.carried["a@x.example"] >= 4

                await until(tried)
                assert await queue.finished() == {}
                # The ladder's pace (0.05, 0.1, 0.1 s) and not as fast as it goes.
                assert courier.carried["a@x.example"] <= 6
                trust.settle()

                async def ended() -> bool:
                    return await queue.finished() == {"a@x.example": State.EXPIRED}

                await until(ended)

            await running(queue, body)

    asyncio.run(scenario())


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_restart_brings_no_second_burst(tmp_path: Path, is_orderly: bool) -> None:
    slow = replace(PROFILE, overall=Limits(throttles=("1/h burst 5",)))

    async def scenario() -> None:
        for start in range(3):
            async with open_queue(tmp_path, profile=slow) as queue:

                async def body(start: int = start) -> None:
                    names = [f"s{start}u{n}@x.example" for n in range(3)]
                    await queue.intake.accept(make_submission(*names))
                    (line,) = queue.book

                    async def waits() -> bool:
                        state = queue.scheduler.statistics()
                        is_idle = state.connections == 0
                        return is_idle and (
                            line.count == 0
                            or queue.scheduler.why_waiting(line) is not None
                        )

                    await until(waits)

                await running(queue, body)
                carried.append(queue.courier.carried.total())
                if is_orderly:
                    await queue.stored_limits.save()

    carried: list[int] = []
    asyncio.run(scenario())
    assert carried == ([3, 2, 0] if is_orderly else [3, 0, 0])
