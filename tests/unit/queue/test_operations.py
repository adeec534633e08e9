"""Holding, releasing, retrying, cancelling and moving, on a real store."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.operated_queue import (
    OTHER_POOL,
    WHO,
    accept,
    drive,
    finished,
    running,
    two_pools,
)
from fakes.queueing import (
    LATER,
    PROFILE,
    Queue,
    ScriptedCourier,
    rows_of,
)
from fakes.running_queue import until
from mailwright.attempt import Attempt, End
from mailwright.ids import LineId, StreamId, TenantId
from mailwright.queue.delivery import State
from mailwright.queue.selection import Selection, SelectionError
from mailwright.queue.tables import deliveries, holds, lines
from mailwright.site import Hop, Site

X = Selection(domain="x.example")


async def accept_many(queue: Queue, domain: str, count: int) -> None:
    for first in range(0, count, 100):
        names = range(first, min(first + 100, count))
        await accept(queue, *(f"u{n}@{domain}" for n in names))


async def nothing() -> None:
    pass


@pytest.mark.parametrize("name", ["hold", "retry", "cancel", "move", "release"])
def test_an_empty_selection_is_refused(tmp_path: Path, name: str) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        more: dict[str, object] = {"hold": WHO, "cancel": WHO}.get(name, {})
        where = [OTHER_POOL] if name == "move" else []
        with pytest.raises(SelectionError):
            await getattr(queue.operations, name)(Selection(), *where, **more)
        assert len(queue.operations.holds) == 0
        assert [row[7] for row in await rows_of(queue.store, deliveries)] == [0]

    drive(tmp_path, test)


def test_a_held_line_waits_while_others_leave_and_leaves_when_released(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@y.example")

        extent = await queue.operations.hold(X, **WHO)
        assert (extent.lines, extent.deliveries) == (1, 1)

        async def body() -> None:
            await accept(queue, "c@x.example", "d@y.example")
            assert set(await finished(queue, 2)) == {"b@y.example", "d@y.example"}
            ended, stopped = await queue.operations.release(X)
            assert [each.id for each in ended] == [extent.hold]
            assert stopped.deliveries == 2
            await finished(queue, 4)

        await running(queue, body)
        assert set(queue.courier.carried.values()) == {1}

    drive(tmp_path, test)


def test_a_hold_stops_lines_that_come_later(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        async def body() -> None:
            await queue.operations.hold(Selection(stream=StreamId(7)), **WHO)
            await accept(queue, "a@x.example", stream=StreamId(7))
            await accept(queue, "b@x.example")
            assert set(await finished(queue, 1)) == {"b@x.example"}
            held = [line for line in queue.book if line.is_held]
            assert [line.key.stream for line in held] == [7]

        await running(queue, body)

    drive(tmp_path, test)


def test_a_hold_of_a_provider_stops_domains_that_are_not_looked_up_yet(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        big = replace(PROFILE, provider="big")
        queue.router.answers["x.example"] = Site(
            "mx.big", (Hop("mx.big", 25),), (10,), big, until=1e12
        )
        await accept(queue, "a@x.example", "b@y.example")

        extent = await queue.operations.hold(Selection(provider="big"), **WHO)
        assert (extent.lines, extent.unresolved) == (1, 0)

        async def body() -> None:
            await accept(queue, "c@x.example")
            assert set(await finished(queue, 1)) == {"b@y.example"}
            assert "a@x.example" not in queue.courier.carried
            await queue.operations.release(Selection(provider="big"))
            await finished(queue, 3)

        await running(queue, body)

    drive(tmp_path, test)


def test_a_hold_survives_a_restart_with_its_reason_and_author(tmp_path: Path) -> None:
    async def first(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@y.example")
        await queue.operations.hold(X, reason="they asked", author="cli:root")

    async def second(queue: Queue) -> None:
        async def body() -> None:
            assert set(await finished(queue, 1)) == {"b@y.example"}
            (hold,) = queue.operations.holds
            assert (hold.reason, hold.author) == ("they asked", "cli:root")
            assert [line.is_held for line in queue.book if line.count] == [True]
            await queue.operations.release(Selection(), hold.id)
            await finished(queue, 2)

        await running(queue, body)

    async def third(queue: Queue) -> None:
        assert len(queue.operations.holds) == 0

    for test in (first, second, third):
        drive(tmp_path, test)


def test_a_hold_ends_by_itself(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")

        end = datetime.now(UTC) + timedelta(milliseconds=100)
        await queue.operations.hold(X, ends_at=end, **WHO)

        async def body() -> None:
            await finished(queue, 1)
            assert datetime.now(UTC) >= end

        await running(queue, body)
        assert [row[-1] is None for row in await rows_of(queue.store, holds)] == [False]

    drive(tmp_path, test)


def test_a_line_under_two_holds_waits_for_the_end_of_both(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        await queue.operations.hold(X, **WHO)
        await queue.operations.hold(Selection(tenant=TenantId(1)), **WHO)
        await queue.operations.release(X)
        assert [line.is_held for line in queue.book] == [True]
        await queue.operations.release(Selection(tenant=TenantId(1)))
        assert [line.is_held for line in queue.book] == [False]

    drive(tmp_path, test)


def test_releasing_as_a_tenant_ends_no_hold_of_everyone(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        await accept(queue, "b@x.example", tenant=TenantId(2))
        await queue.operations.hold(X, **WHO)
        mine = Selection(tenant=TenantId(2), domain="x.example")
        ended, _ = await queue.operations.release(mine)
        assert not ended
        (hold,) = queue.operations.holds
        ended, _ = await queue.operations.release(mine, hold.id)
        assert not ended
        assert all(line.is_held for line in queue.book)

    drive(tmp_path, test)


def test_one_tenants_operations_leave_the_others_mail_alone(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        theirs = await accept(queue, "a@x.example", tenant=TenantId(1))
        await accept(queue, "b@x.example", tenant=TenantId(2))
        (message,) = {
            row[1] for row in await rows_of(queue.store, deliveries) if row[13] == 1
        }
        assert theirs
        mine = Selection(tenant=TenantId(2), domain="x.example")
        extent = await queue.operations.cancel(mine, dry_run=True, **WHO)
        assert extent.deliveries == 1
        named = Selection(tenant=TenantId(2), message=message)
        assert (await queue.operations.cancel(named, **WHO)).deliveries == 0
        assert (await queue.operations.retry(named)).deliveries == 0

        await queue.operations.cancel(mine, **WHO)

        async def body() -> None:
            states = await finished(queue, 2)
            assert states == {
                "a@x.example": State.DELIVERED,
                "b@x.example": State.CANCELLED,
            }

        await running(queue, body)

    drive(tmp_path, test)


def test_what_is_cancelled_never_leaves_and_each_has_its_event(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept_many(queue, "x.example", 230)
        await accept(queue, "b@y.example")
        dry = await queue.operations.cancel(X, dry_run=True, **WHO)
        assert (dry.lines, dry.deliveries, dry.hold) == (1, 230, None)

        real = await queue.operations.cancel(X, **WHO)
        assert (real.lines, real.deliveries) == (1, 230)

        async def body() -> None:
            states = Counter((await finished(queue, 231)).values())
            assert states == {State.CANCELLED: 230, State.DELIVERED: 1}

            async def is_over() -> bool:
                return len(queue.operations.holds) == 0

            await until(is_over)
            await accept(queue, "late@x.example")
            await finished(queue, 232)

        await running(queue, body)
        assert queue.courier.carried == {"b@y.example": 1, "late@x.example": 1}
        kinds = Counter(kind for kind, _ in await queue.events())
        assert kinds["cancelled"] == 230
        assert all(line.count == 0 for line in queue.book)
        assert all(row[9] == 0 for row in await rows_of(queue.store, lines))

    drive(tmp_path, test)


def test_a_cancellation_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def first(queue: Queue) -> None:
        await accept_many(queue, "x.example", 120)
        await queue.operations.cancel(X, **WHO)

    async def second(queue: Queue) -> None:
        async def body() -> None:
            states = await finished(queue, 120)
            assert set(states.values()) == {State.CANCELLED}

        await running(queue, body)
        assert not queue.courier.carried

    drive(tmp_path, first)
    drive(tmp_path, second)


def test_what_comes_back_while_a_cancellation_looks_is_cancelled(
    tmp_path: Path,
) -> None:
    offered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedCourier):
        async def carry(self, site, source, feed):
            while parcels := await feed.take(8):
                offered.set()
                await go_on.wait()
                for parcel in parcels:
                    feed.settle(Attempt(parcel, End.REPLIED, LATER))

    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example")
        (line,) = queue.book
        read = queue.store.read

        async def late(*bounds):
            found = await read(*bounds)
            if bounds[0].query.name == "waiting of line" and line.sending:
                go_on.set()
                while line.sending:  # and it waits again, which was not seen
                    await asyncio.sleep(0)
            return found

        async def body() -> None:
            await offered.wait()
            queue.store.read = late  # type: ignore[method-assign]
            await queue.operations.cancel(X, **WHO)
            assert await finished(queue, 1) == {"a@x.example": State.CANCELLED}

        await running(queue, body)

    hours = replace(PROFILE, retry=(3600.0,))
    drive(tmp_path, test, courier=Slow(), profile=hours)


def test_a_cancelled_message_leaves_the_line_to_others(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@x.example")
        (message,) = {row[1] for row in await rows_of(queue.store, deliveries)}
        await accept(queue, "c@x.example")
        named = Selection(message=message)
        assert (
            await queue.operations.cancel(named, dry_run=True, **WHO)
        ).deliveries == 2
        assert (await queue.operations.cancel(named, **WHO)).deliveries == 2

        async def body() -> None:
            states = await finished(queue, 3)
            assert states["c@x.example"] == State.DELIVERED

        await running(queue, body)
        assert set(queue.courier.carried) == {"c@x.example"}

    drive(tmp_path, test)


@pytest.mark.parametrize("by_message", [False, True])
def test_a_retry_makes_due_what_waits_for_its_next_attempt(
    tmp_path: Path, by_message: bool
) -> None:
    courier = ScriptedCourier(lambda _parcel, _source: (End.REPLIED, LATER))

    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@x.example")
        (message,) = {row[1] for row in await rows_of(queue.store, deliveries)}

        async def body() -> None:
            async def have_been_tried() -> bool:
                rows = await rows_of(queue.store, deliveries)
                return all(row[8] == 1 and row[7] == State.QUEUED for row in rows)

            await until(have_been_tried)
            courier.script = ScriptedCourier().script
            selection = Selection(message=message) if by_message else X
            assert (
                await queue.operations.retry(selection, dry_run=True)
            ).deliveries == 2
            assert (await queue.operations.retry(selection)).deliveries == 2
            await finished(queue, 2)

        await running(queue, body)

    hours = replace(PROFILE, retry=(3600.0,))
    drive(tmp_path, test, courier=courier, profile=hours)


def test_a_retry_leaves_alone_what_is_to_leave_later(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        tomorrow = datetime.now(UTC) + timedelta(hours=10)
        await accept(queue, "a@x.example", not_before=tomorrow)
        before = await rows_of(queue.store, deliveries)
        await queue.operations.retry(X)
        assert await rows_of(queue.store, deliveries) == before

    drive(tmp_path, test)


def test_a_moved_line_leaves_from_the_other_pool_and_no_delivery_is_written(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@y.example")
        before = await rows_of(queue.store, deliveries)
        assert (await queue.operations.move(X, OTHER_POOL, dry_run=True)).lines == 1
        assert (await queue.operations.move(X, OTHER_POOL)).lines == 1
        assert await rows_of(queue.store, deliveries) == before
        assert (await queue.operations.move(X, OTHER_POOL)).lines == 0

    async def again(queue: Queue) -> None:
        await accept(queue, "c@x.example")

        async def body() -> None:
            await finished(queue, 3)

        await running(queue, body)
        assert queue.courier.sources == {
            "a@x.example": ["other"],
            "b@y.example": ["main"],
            "c@x.example": ["main"],
        }

    drive(tmp_path, test, directory=two_pools())
    drive(tmp_path, again, directory=two_pools())


def test_a_line_is_selected_by_its_id(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@y.example")
        line = next(each for each in queue.book if each.key.domain == "y.example")
        await queue.operations.hold(Selection(line=line.id), **WHO)
        assert [each.key.domain for each in queue.book if each.is_held] == ["y.example"]
        assert (await queue.operations.retry(Selection(line=LineId(1)))).lines == 0

    drive(tmp_path, test)


def test_a_held_line_with_many_rows_ahead_does_not_slow_the_others(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        await accept_many(queue, "x.example", 3000)
        await queue.operations.hold(X, **WHO)
        read = queue.store.read
        looked_at: list[object] = []

        async def watched(*bounds):
            looked_at.extend(bound.params.get("line_id") for bound in bounds)
            return await read(*bounds)

        queue.store.read = watched  # type: ignore[method-assign]
        (held,) = [line for line in queue.book if line.is_held]

        async def body() -> None:
            await accept(queue, *(f"u{n}@y.example" for n in range(50)))
            await finished(queue, 50)

        await running(queue, body)
        assert held.id not in looked_at
        assert queue.courier.connections["x.example"] == 0
        assert held.count == 3000

    drive(tmp_path, test)
