"""Holding, releasing and moving one message, or one delivery of it, on a real store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.operated_queue import (
    OTHER_POOL,
    WHO,
    accept,
    check_balance,
    drive,
    running,
    two_pools,
)
from fakes.queueing import (
    LATER,
    OK,
    PROFILE,
    Queue,
    ScriptedCourier,
    rows_of,
)
from mailwright.attempt import Attempt, End
from mailwright.ids import Kind, MessageId, TenantId, parse_public
from mailwright.queue.cancelling import Cancelling
from mailwright.queue.claimed import Claimed
from mailwright.queue.delivery import State
from mailwright.queue.operations import Operations
from mailwright.queue.parting import Parting
from mailwright.queue.selection import Selection
from mailwright.queue.settle import end_waiting
from mailwright.queue.tables import deliveries
from mailwright.store.statements import Unit


async def settled(queue: Queue, *recipients: str) -> None:
    """Return when these have ended, and be sure that nobody else has."""
    while set(await queue.finished()) < set(recipients):
        await asyncio.sleep(0.005)
    assert set(await queue.finished()) == set(recipients)


async def accepted(queue: Queue, *recipients: str, **changes: object) -> MessageId:
    public = parse_public(await accept(queue, *recipients, **changes), Kind.MESSAGE)
    assert public is not None
    return MessageId(public.number)


@pytest.mark.parametrize("by_delivery", [False, True])
def test_a_held_message_waits_while_its_neighbours_in_the_line_leave(
    tmp_path: Path, by_delivery: bool
) -> None:
    async def test(queue: Queue) -> None:
        await accept(queue, "early@x.example")
        message = await accepted(queue, "a@x.example", "b@y.example")
        await accept(queue, "late@x.example")
        named = Selection(message=message)
        held = {"a@x.example", "b@y.example"}
        if by_delivery:
            rows = await rows_of(queue.store, deliveries)
            (delivery,) = (row[0] for row in rows if row[15] == "a@x.example")
            named, held = Selection(delivery=delivery), {"a@x.example"}
        free = {"early@x.example", "a@x.example", "b@y.example", "late@x.example"}
        free -= held

        dry = await queue.operations.hold(named, dry_run=True, **WHO)
        assert (dry.lines, dry.deliveries, dry.hold) == (len(held), len(held), None)
        assert not any(line.is_held for line in queue.book)
        extent = await queue.operations.hold(named, **WHO)
        assert (extent.lines, extent.deliveries) == (len(held), len(held))
        await check_balance(queue)

        async def body() -> None:
            await settled(queue, *free)
            (hold,) = queue.operations.holds
            ended, stopped = await queue.operations.release(named)
            assert (ended, stopped.deliveries) == ([hold], len(held))
            await settled(queue, *free, *held)

        await running(queue, body)
        assert set(queue.courier.carried.values()) == {1}

    drive(tmp_path, test)


def test_mail_accepted_later_never_joins_the_line_of_a_held_message(
    tmp_path: Path,
) -> None:
    async def first(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        await queue.operations.hold(Selection(message=message), **WHO)

    async def second(queue: Queue) -> None:  # the line of before is empty, and gone
        async def body() -> None:
            await accept(queue, "b@x.example")
            await settled(queue, "b@x.example")

        await running(queue, body)

    drive(tmp_path, first)
    drive(tmp_path, second)


def test_a_hold_that_was_made_just_before_a_crash_parts_its_message_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(_self: Parting, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    async def first(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        with monkeypatch.context() as patch:
            patch.setattr(Parting, "part", dies)
            with pytest.raises(KeyboardInterrupt):
                await queue.operations.hold(Selection(message=message), **WHO)
        assert not any(line.is_held for line in queue.book)

    async def second(queue: Queue) -> None:
        (line,) = [each for each in queue.book if each.count]
        assert line.is_held
        assert [each.id for each in queue.operations.stopping(line)] == [line.hold]

    drive(tmp_path, first)
    drive(tmp_path, second)


def test_what_a_session_has_of_a_held_message_is_held_when_it_comes_back(
    tmp_path: Path,
) -> None:
    offered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedCourier):
        async def carry(self, site, source, feed):
            while parcels := await feed.take(8):
                offered.set()
                await go_on.wait()
                for parcel in parcels:
                    self.carried[parcel.recipient] += 1
                    feed.settle(replace_end(parcel))

    def replace_end(parcel):
        return Attempt(parcel, End.REPLIED, LATER)

    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")

        async def body() -> None:
            await offered.wait()
            extent = await queue.operations.hold(Selection(message=message), **WHO)
            assert (extent.deliveries, extent.under_way) == (0, 1)
            assert not any(line.is_held for line in queue.book if line.count)
            go_on.set()
            while not any(line.is_held and line.count for line in queue.book):
                await asyncio.sleep(0.005)
            tried = queue.courier.carried["a@x.example"]
            assert tried == 1, "its next attempt was not due before it was held"

        await running(queue, body)

    late = replace(PROFILE, retry=(30.0,))
    drive(tmp_path, test, courier=Slow(), profile=late)


def test_a_delivery_under_two_holds_waits_for_the_end_of_both(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example", "b@x.example")
        rows = await rows_of(queue.store, deliveries)
        (delivery,) = (row[0] for row in rows if row[15] == "a@x.example")
        of_it, of_all = Selection(delivery=delivery), Selection(message=message)

        for first, second in ((of_it, of_all), (of_all, of_it)):
            await queue.operations.hold(first, **WHO)
            await queue.operations.hold(second, **WHO)
            await queue.operations.release(first)
            held = [x.claimed.recipient for x in await named(queue, message, held=True)]
            expected = {"a@x.example"} | ({"b@x.example"} if first is of_it else set())
            assert set(held) == expected
            await queue.operations.release(second)
            assert await named(queue, message, held=True) == []

    async def named(queue: Queue, message: MessageId, *, held: bool) -> list:
        found = await queue.operations.choosing.named(Selection(message=message))
        return [each for each in found if each.claimed.line.is_held is held]

    drive(tmp_path, test)


def test_a_control_that_forgets_other_holds_lets_it_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Selection, "may_share", lambda *_: False)
    with pytest.raises(AssertionError):
        test_a_delivery_under_two_holds_waits_for_the_end_of_both(tmp_path)


def test_a_hold_of_a_message_ends_by_itself_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    async def first(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example", "b@y.example")
        end = datetime.now(UTC) + timedelta(milliseconds=400)
        await queue.operations.hold(Selection(message=message), ends_at=end, **WHO)

    async def second(queue: Queue) -> None:
        assert [line.is_held for line in queue.book if line.count] == [True, True]

        async def body() -> None:
            await settled(queue, "a@x.example", "b@y.example")

        await running(queue, body)
        assert len(queue.operations.holds) == 0

    drive(tmp_path, first)
    drive(tmp_path, second)


def test_nothing_is_held_of_what_is_not_there_or_another_tenants(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example", tenant=TenantId(1))
        for selection in (
            Selection(message=MessageId(1)),
            Selection(message=message, tenant=TenantId(2)),
            Selection(message=message, accepted_on="2001-01-01"),
        ):
            extent = await queue.operations.hold(selection, **WHO)
            assert (extent.lines, extent.hold) == (0, None)
        assert len(queue.operations.holds) == 0
        assert not any(line.is_held for line in queue.book)

    drive(tmp_path, test)


def test_a_moved_message_leaves_from_the_other_pool_alone(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example", "b@y.example")
        await accept(queue, "c@x.example")
        named = Selection(message=message)
        dry = await queue.operations.move(named, OTHER_POOL, dry_run=True)
        assert (dry.lines, dry.deliveries) == (2, 2)
        assert (await queue.operations.move(named, OTHER_POOL)).deliveries == 2
        assert (await queue.operations.move(named, OTHER_POOL)).deliveries == 0

        async def body() -> None:
            await accept(queue, "d@x.example")
            await settled(
                queue, "a@x.example", "b@y.example", "c@x.example", "d@x.example"
            )

        await running(queue, body)
        assert queue.courier.sources == {
            "a@x.example": ["other"],
            "b@y.example": ["other"],
            "c@x.example": ["main"],
            "d@x.example": ["main"],
        }

    drive(tmp_path, test, directory=two_pools())


def test_a_held_message_that_is_moved_stays_held(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        named = Selection(message=message)
        await queue.operations.hold(named, **WHO)
        await queue.operations.move(named, OTHER_POOL)
        (line,) = [each for each in queue.book if each.count]
        assert (line.is_held, line.key.pool) == (True, OTHER_POOL)
        await queue.operations.release(named)
        assert not line.is_held

    drive(tmp_path, test, directory=two_pools())


def test_a_message_moved_out_of_a_held_domain_stays_held(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        await queue.operations.hold(Selection(domain="x.example"), **WHO)
        await queue.operations.move(Selection(message=message), OTHER_POOL)
        assert [each.is_held for each in queue.book if each.count] == [True]

    drive(tmp_path, test, directory=two_pools())


def cancel_and_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Part a message just when its rows are to be cancelled; return how all ends."""
    ends: set[int] = set()
    take_back = Cancelling._take_back

    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        await accept(queue, *(f"u{n}@x.example" for n in range(80)))
        held = []

        async def late(self: Cancelling, waiting: Sequence[Claimed]) -> int:
            if not held:
                held.append(message)
                await queue.operations.hold(Selection(message=message), **WHO)
            return await take_back(self, waiting)

        monkeypatch.setattr(Cancelling, "_take_back", late)
        await queue.operations.cancel(Selection(domain="x.example"), **WHO)

        async def body() -> None:
            while any(hold.cancels for hold in queue.operations.holds):
                await asyncio.sleep(0.005)
            await queue.operations.release(Selection(message=message))
            while len(await queue.finished()) < 81:
                await asyncio.sleep(0.005)

        await running(queue, body)
        ends.update((await queue.finished()).values())

    drive(folder, test)
    return ends


def test_what_is_parted_while_a_line_is_cancelled_is_cancelled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cancel_and_hold(tmp_path, monkeypatch) == {State.CANCELLED}


def test_a_control_that_sees_no_partings_lets_it_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = property(lambda _: 0, lambda *_: None)
    monkeypatch.setattr(Parting, "done", never, raising=False)
    assert State.DELIVERED in cancel_and_hold(tmp_path, monkeypatch)


def test_an_end_of_what_was_parted_meanwhile_takes_nothing_from_the_old_line(
    tmp_path: Path,
) -> None:
    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example", "b@x.example")
        seen = await queue.operations.choosing.named(Selection(message=message))
        await queue.operations.hold(Selection(message=message), **WHO)
        step = end_waiting(
            seen[0].claimed,
            State.CANCELLED,
            node=queue.store.node,
            now=datetime.now(UTC),
        )
        assert await queue.store.run(Unit((step,))) == [[]]

    drive(tmp_path, test)


def test_a_message_of_many_recipients_is_parted_in_slices(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        recipients = [f"u{n}@d{n % 3}.example" for n in range(400)]
        message = await accepted(queue, *recipients)
        named = Selection(message=message)
        extent = await queue.operations.hold(named, **WHO)
        assert (extent.lines, extent.deliveries) == (3, 400)
        assert (await queue.operations.cancel(named, **WHO)).deliveries == 400
        assert set((await queue.finished()).values()) == {State.CANCELLED}

    drive(tmp_path, test)


def test_a_retry_of_a_held_message_waits_for_the_release(tmp_path: Path) -> None:
    replies = iter([LATER])
    courier = ScriptedCourier(lambda *_: (End.REPLIED, next(replies, OK)))

    async def test(queue: Queue) -> None:
        message = await accepted(queue, "a@x.example")
        named = Selection(message=message)

        async def body() -> None:
            while [row[8] for row in await rows_of(queue.store, deliveries)] != [1]:
                await asyncio.sleep(0.005)
            while (await queue.operations.hold(named, **WHO)).under_way:
                await asyncio.sleep(0.005)
            assert (await queue.operations.retry(named)).deliveries == 1
            assert await queue.finished() == {}
            for hold in queue.operations.holds:
                await queue.operations.release(Selection(), hold.id)
            await settled(queue, "a@x.example")

        await running(queue, body)

    late = replace(PROFILE, retry=(3600.0,))
    drive(tmp_path, test, courier=courier, profile=late)


def test_a_tenant_ends_its_own_holds_only(tmp_path: Path) -> None:
    ours = TenantId(1)

    async def test(queue: Queue) -> None:
        operations: Operations = queue.operations
        await accept(queue, "a@x.example", tenant=ours)
        scope = Selection(tenant=ours)
        theirs = await operations.hold(scope, **WHO)
        own = await operations.hold(scope, owner=ours, **WHO)
        ended, _ = await operations.release(scope, theirs.hold, owner=ours)
        assert ended == []
        ended, _ = await operations.release(scope, owner=ours)
        assert [each.id for each in ended] == [own.hold]
        assert [line.is_held for line in queue.book] == [True]

    async def again(queue: Queue) -> None:
        (hold,) = queue.operations.holds
        assert hold.owner is None
        await queue.operations.hold(Selection(tenant=ours), owner=ours, **WHO)

    async def at_last(queue: Queue) -> None:
        assert [each.owner for each in queue.operations.holds] == [None, ours]

    for step in (test, again, at_last):
        drive(tmp_path, step)
