"""From acceptance to the end of each delivery, on a real store."""

import asyncio
import gc
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from fakes.queueing import (
    LATER,
    NO,
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
    subject_of,
)
from fakes.running_queue import running, until
from mailwright.attempt import End
from mailwright.bounce.tables import suppressions
from mailwright.clock import from_micros
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries, messages
from mailwright.reply import Phase, Reply, local_reply
from mailwright.store.statements import Query, unit

INSERT_SUPPRESSION = Query("insert suppression", insert(suppressions))


async def settled(queue: Queue, count: int) -> dict[str, int]:
    async def are() -> bool:
        return len(await queue.finished()) >= count

    await until(are)
    return await queue.finished()


def suppress(address: str) -> object:
    return INSERT_SUPPRESSION(
        subject=subject_of(address),
        tenant=1,
        stream=0,
        reason="manual",
        evidence="",
        author="test",
        is_provisional=0,
        created_at=0,
        ends_at=None,
    )


def test_an_accepted_message_is_delivered_once_and_leaves_the_queue(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:

            async def body() -> None:
                accepted = await queue.intake.accept(
                    make_submission("a@x.example", "b@y.example")
                )
                assert accepted.message.startswith("msg_")
                states = await settled(queue, 2)
                assert set(states.values()) == {State.DELIVERED}

            await running(queue, body)
            assert queue.courier.carried == {"a@x.example": 1, "b@y.example": 1}
            assert await rows_of(queue.store, deliveries) == []
            assert Counter(kind for kind, _ in await queue.events()) == {
                "received": 2,
                "delivered": 2,
            }
            assert all(line.count == 0 for line in queue.book)

    asyncio.run(scenario())


def test_many_messages_at_once_are_each_delivered_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:

            async def body() -> None:
                async with asyncio.TaskGroup() as tasks:
                    for n in range(300):
                        tasks.create_task(
                            queue.intake.accept(
                                make_submission(f"u{n}@d{n % 7}.example")
                            )
                        )
                await settled(queue, 300)

            await running(queue, body)
            assert len(queue.courier.carried) == 300
            assert set(queue.courier.carried.values()) == {1}

    asyncio.run(scenario())


def test_a_deferral_is_retried_and_a_refusal_bounces(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def script(parcel, source):
        tries[parcel.recipient] += 1
        if parcel.recipient.startswith("gone"):
            return End.REPLIED, NO
        return End.REPLIED, LATER if tries[parcel.recipient] < 3 else OK

    async def scenario() -> None:
        courier = ScriptedCourier(script)
        async with open_queue(tmp_path, courier=courier) as queue:

            async def body() -> None:
                await queue.intake.accept(
                    make_submission("slow@x.example", "gone@x.example")
                )
                states = await settled(queue, 2)
                assert states == {
                    "slow@x.example": State.DELIVERED,
                    "gone@x.example": State.BOUNCED,
                }

            await running(queue, body)
            assert Counter(kind for kind, _ in await queue.events()) == {
                "received": 2,
                "deferred": 2,
                "delivered": 1,
                "bounced": 1,
            }

    asyncio.run(scenario())


def test_a_retry_has_the_same_octets_and_the_same_source(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def script(parcel, source):
        tries[parcel.recipient] += 1
        return End.REPLIED, LATER if tries[parcel.recipient] < 4 else OK

    async def scenario() -> None:
        courier = ScriptedCourier(script)
        directory = make_directory(SOURCE, OTHER_SOURCE)
        async with open_queue(tmp_path, courier=courier, directory=directory) as queue:

            async def body() -> None:
                for n in range(20):
                    await queue.intake.accept(make_submission(f"u{n}@x.example"))
                await settled(queue, 20)

            await running(queue, body)
            used = set()
            for recipient, sources in courier.sources.items():
                assert len(sources) == 4
                assert len(set(sources)) == 1, recipient
                assert len(courier.octets[recipient]) == 1
                used.update(sources)
            assert used == {"main", "other"}

    asyncio.run(scenario())


def test_a_connection_lost_after_the_dot_once_is_a_possible_duplicate(
    tmp_path: Path,
) -> None:
    tries: Counter[str] = Counter()

    def script(parcel, source):
        tries[parcel.recipient] += 1
        lost = local_reply(451, "4.4.2", "connection lost", Phase.DOT)
        if parcel.recipient.startswith("never") or tries[parcel.recipient] == 1:
            return End.AMBIGUOUS, lost
        return End.REPLIED, OK

    async def scenario() -> None:
        async with open_queue(tmp_path, courier=ScriptedCourier(script)) as queue:

            async def body() -> None:
                await queue.intake.accept(
                    make_submission("once@x.example", "never@x.example")
                )
                states = await settled(queue, 2)
                assert states == {
                    "once@x.example": State.DELIVERED,
                    "never@x.example": State.EXPIRED,
                }

            await running(queue, body)
            finals = [
                json.loads(data)
                for kind, data in await queue.events()
                if kind in {"delivered", "expired"}
            ]
            assert len(finals) == 2
            assert all(data["possible_duplicate"] for data in finals)

    asyncio.run(scenario())


def test_what_dead_processes_carried_is_tried_from_the_same_source_until_it_arrives(
    tmp_path: Path,
) -> None:
    tries: Counter[str] = Counter()

    def script(parcel, source):
        tries[parcel.recipient] += 1
        died = local_reply(421, "4.3.0", "the process ended", Phase.DOT)
        if parcel.recipient.startswith("lost"):  # the control
            return End.AMBIGUOUS, died
        if tries[parcel.recipient] <= 4:
            return End.ORPHANED, died
        return End.REPLIED, OK

    async def scenario() -> None:
        courier = ScriptedCourier(script)
        directory = make_directory(SOURCE, OTHER_SOURCE)
        rest = timedelta(milliseconds=20)
        async with open_queue(
            tmp_path, courier=courier, directory=directory, ambiguous_retry=rest
        ) as queue:
            recipients = [f"{who}{n}@x.example" for who in ("a", "lost") for n in "123"]

            async def body() -> None:
                await queue.intake.accept(make_submission(*recipients))
                states = await settled(queue, len(recipients))
                assert states == {
                    each: State.EXPIRED if each.startswith("lost") else State.DELIVERED
                    for each in recipients
                }

            await running(queue, body)
            events = [(kind, json.loads(data)) for kind, data in await queue.events()]
            deferred = [data for kind, data in events if kind == "deferred"]
            delivered = [data for kind, data in events if kind == "delivered"]
            expired = [data for kind, data in events if kind == "expired"]
            assert (len(deferred), len(delivered), len(expired)) == (4 * 3 + 3, 3, 3)
            assert all(
                each["possible_duplicate"] for _, each in events if "code" in each
            )
            assert {each["attempt"] for each in delivered} == {5}
            assert {each["attempt"] for each in expired} == {2}
            for recipient in recipients[:3]:
                assert len(courier.sources[recipient]) == 5
                assert len(set(courier.sources[recipient])) == 1
                assert len(courier.octets[recipient]) == 1

    asyncio.run(scenario())


def test_what_a_dead_process_carried_is_due_when_the_rest_is_over(
    tmp_path: Path,
) -> None:
    died = local_reply(421, "4.3.0", "the process ended", Phase.DOT)

    async def scenario() -> None:
        courier = ScriptedCourier(lambda _parcel, _source: (End.ORPHANED, died))
        rest = timedelta(hours=1)
        async with open_queue(tmp_path, courier=courier, ambiguous_retry=rest) as queue:

            async def body() -> None:
                began_at = datetime.now(UTC)
                await queue.intake.accept(make_submission("a@x.example"))

                async def is_back() -> bool:
                    return any(kind == "deferred" for kind, _ in await queue.events())

                await until(is_back)
                [values] = await rows_of(queue.store, deliveries)
                row = dict(zip(deliveries.c.keys(), values, strict=True))
                assert State(row["state"]) is State.QUEUED
                assert (row["attempt"], row["ambiguous"], row["lost"]) == (1, 1, 0)
                due_at = from_micros(row["due_at"])
                assert began_at + rest <= due_at <= datetime.now(UTC) + rest

            await running(queue, body)
            assert queue.courier.carried == {"a@x.example": 1}

    asyncio.run(scenario())


def test_a_suppressed_recipient_ends_at_once_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            await queue.store.run(unit(suppress("no@x.example")))

            async def body() -> None:
                accepted = await queue.intake.accept(
                    make_submission("no@x.example", "yes@x.example")
                )
                assert [each.is_suppressed for each in accepted.recipients] == [
                    True,
                    False,
                ]
                assert await settled(queue, 2) == {
                    "no@x.example": State.SUPPRESSED,
                    "yes@x.example": State.DELIVERED,
                }

            await running(queue, body)
            assert queue.courier.carried == {"yes@x.example": 1}

    asyncio.run(scenario())


def test_a_recipient_suppressed_while_it_waits_is_not_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            soon = datetime.now(UTC) + timedelta(seconds=0.3)
            await queue.intake.accept(
                make_submission("no@x.example", "yes@x.example", not_before=soon)
            )
            await queue.store.run(unit(suppress("no@x.example")))

            async def body() -> None:
                assert await settled(queue, 2) == {
                    "no@x.example": State.SUPPRESSED,
                    "yes@x.example": State.DELIVERED,
                }

            await running(queue, body)
            assert queue.courier.carried == {"yes@x.example": 1}

    asyncio.run(scenario())


def test_a_delivery_whose_time_is_over_expires(tmp_path: Path) -> None:
    async def scenario() -> None:
        courier = ScriptedCourier(lambda _parcel, _source: (End.REPLIED, LATER))
        expires = timedelta(milliseconds=200)
        async with open_queue(tmp_path, courier=courier, expires=expires) as queue:

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))
                assert await settled(queue, 1) == {"a@x.example": State.EXPIRED}

            await running(queue, body)
            assert courier.carried["a@x.example"] >= 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (local_reply(550, "5.1.2", "no such domain", Phase.CONNECT), State.BOUNCED),
        (local_reply(451, "4.4.3", "DNS failed", Phase.CONNECT), State.EXPIRED),
    ],
)
def test_a_domain_without_a_site(tmp_path: Path, reply: Reply, state: State) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path, expires=timedelta(milliseconds=300)) as queue:
            queue.router.answers["x.example"] = reply

            async def body() -> None:
                recipients = [f"u{n}@x.example" for n in range(80)]
                await queue.intake.accept(make_submission(*recipients))
                states = await settled(queue, 80)
                assert set(states.values()) == {state}

            await running(queue, body)
            assert not queue.courier.carried

    asyncio.run(scenario())


def test_an_unreachable_host_defers_and_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        courier = ScriptedCourier()
        courier.unreachable["x.example"] = local_reply(
            421, "4.4.1", "connection refused", Phase.CONNECT
        )
        async with open_queue(tmp_path, courier=courier) as queue:

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example", "b@y.example"))
                assert await settled(queue, 1) == {"b@y.example": State.DELIVERED}

                async def deferred() -> bool:
                    return any(kind == "deferred" for kind, _ in await queue.events())

                await until(deferred)
                courier.unreachable.clear()
                assert (await settled(queue, 2))["a@x.example"] is not None

            await running(queue, body)
            assert courier.carried["a@x.example"] == 1

    asyncio.run(scenario())


def test_a_large_submission_is_deliverable_only_with_its_last_unit(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            await queue.store.run(unit(suppress("u7@d7.example")))

            async def body() -> None:
                recipients = [f"u{n}@d{n % 9}.example" for n in range(250)]
                accepted = await queue.intake.accept(make_submission(*recipients))
                assert len(accepted.recipients) == 250
                assert sum(each.is_suppressed for each in accepted.recipients) == 1
                states = await settled(queue, 250)
                assert Counter(states.values()) == {
                    State.DELIVERED: 249,
                    State.SUPPRESSED: 1,
                }

            await running(queue, body)

    asyncio.run(scenario())


def test_a_submission_that_a_crash_left_unfinished_is_discarded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            submit = queue.store.submit
            handed: list[object] = []

            def only_the_first(each, done):
                handed.append(each)
                return (
                    submit(each, done)
                    if len(handed) == 1
                    else submit(unit(), lambda *_: None)
                )

            queue.store.submit = only_the_first
            recipients = [f"u{n}@x.example" for n in range(250)]
            accepting = asyncio.create_task(
                queue.intake.accept(make_submission(*recipients))
            )

            async def first_is_written() -> bool:
                return len(await rows_of(queue.store, deliveries)) == 100

            await until(first_is_written)
            await asyncio.sleep(
                0.1
            )  # it must not go on; for that there is no condition
            assert not accepting.done()
            accepting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await accepting
            queue.store.submit = submit
            assert len(await rows_of(queue.store, deliveries)) == 100
        async with open_queue(tmp_path) as queue:
            assert await rows_of(queue.store, deliveries) == []
            assert await rows_of(queue.store, messages) == []
            assert await queue.events() == []

    asyncio.run(scenario())


def test_what_a_dead_start_was_sending_goes_out_again_marked(tmp_path: Path) -> None:
    async def scenario() -> None:
        # A courier that takes mail and is never heard of again.
        stuck = ScriptedCourier()

        async def carry(site, source, feed):
            stuck.octets["taken"].add(str(await feed.take(8)).encode())
            await asyncio.Event().wait()

        stuck.carry = carry
        async with open_queue(tmp_path, courier=stuck) as queue:
            await queue.intake.accept(make_submission("a@x.example", "b@x.example"))
            run = asyncio.ensure_future(queue.scheduler.run())

            async def taken() -> bool:
                return bool(stuck.octets["taken"])

            await until(taken)
            queue.settlement.settle = lambda *_, **__: None
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            rows = await rows_of(queue.store, deliveries)
            assert [row[7] for row in rows] == [State.SENDING, State.SENDING]
        async with open_queue(tmp_path) as queue:

            async def body() -> None:
                assert set((await settled(queue, 2)).values()) == {State.DELIVERED}

            await running(queue, body)
            events = [(kind, json.loads(data)) for kind, data in await queue.events()]
            assert [kind for kind, _ in events] == ["received"] * 2 + [
                "deferred"
            ] * 2 + ["delivered"] * 2
            assert all(data["possible_duplicate"] for _, data in events[2:])

    asyncio.run(scenario())


def test_a_settle_by_one_who_no_longer_owns_the_row_changes_nothing(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            taken: list[object] = []

            async def carry(site, source, feed):
                parcels = await feed.take(8)
                if not parcels:
                    return
                taken.append(parcels)
                # Somebody else's start took the row over meanwhile.
                from sqlalchemy import update

                steal = Query("steal", update(deliveries).values(epoch=999_999))
                await queue.store.run(unit(steal()))
                from mailwright.attempt import Attempt

                for parcel in parcels:
                    feed.settle(Attempt(parcel, End.REPLIED, OK))

            queue.courier.carry = carry

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))

                async def told() -> bool:
                    return len(await queue.events()) == 2

                await until(told)

            await running(queue, body)
            assert [kind for kind, _ in await queue.events()] == [
                "received",
                "possible_duplicate",
            ]
            (row,) = await rows_of(queue.store, deliveries)
            assert row[7] == State.SENDING
            assert await queue.finished() == {}

    asyncio.run(scenario())


def test_no_more_connections_than_allowed_and_every_site_gets_its_turn(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path, connections=2) as queue:

            async def body() -> None:
                recipients = [f"u{n}@d{n}.example" for n in range(60)]
                await queue.intake.accept(make_submission(*recipients))
                await settled(queue, 60)

            await running(queue, body)
            assert len(queue.courier.carried) == 60

    asyncio.run(scenario())


def test_a_fault_in_a_session_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path) as queue:
            carry = queue.courier.carry
            faults: list[int] = []

            async def faulty(site, source, feed):
                if not faults:
                    await feed.take(8)
                    faults.append(1)
                    raise RuntimeError("a bug")
                return await carry(site, source, feed)

            queue.courier.carry = faulty

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))
                assert await settled(queue, 1) == {"a@x.example": State.DELIVERED}

            await running(queue, body)
            final = [data for kind, data in await queue.events() if kind == "delivered"]
            assert json.loads(final[0])["possible_duplicate"]

    asyncio.run(scenario())


def test_the_book_closes_empty_lines_and_a_new_one_takes_their_place(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with open_queue(tmp_path, profile=PROFILE) as queue:

            async def body() -> None:
                await queue.intake.accept(make_submission("a@x.example"))
                await settled(queue, 1)
                (old,) = queue.book.close_empty()
                await queue.intake.accept(make_submission("b@x.example"))
                await settled(queue, 2)
                (new,) = queue.book
                assert new.id != old.id

            await running(queue, body)

    asyncio.run(scenario())


def test_a_cancelled_scheduler_opens_no_connection_while_it_ends(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    async def scenario() -> None:
        courier = ScriptedCourier()
        asked = asyncio.Event()

        async def carry(site, source, feed):
            await feed.take(8)
            asked.set()
            await asyncio.Event().wait()

        courier.carry = carry
        async with open_queue(tmp_path, courier=courier) as queue:
            for n in range(40):
                await queue.intake.accept(make_submission(f"u{n}@x.example"))
            run = asyncio.ensure_future(queue.scheduler.run())
            async with asyncio.timeout(120):
                await asked.wait()
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run

    asyncio.run(scenario())
    gc.collect()
    assert not [each for each in recwarn if "never awaited" in str(each.message)]
