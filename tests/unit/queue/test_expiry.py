"""What waits for longer than it may ends, although nobody claims it."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from fakes.queueing import (
    PROFILE,
    Queue,
    make_submission,
    open_queue,
    rows_of,
)
from fakes.running_node import DOMAIN, message, running_node
from mailwright.clock import ClockTrust, ManualClock
from mailwright.queue import expiry as expiry_module
from mailwright.queue.delivery import State
from mailwright.queue.selection import Selection
from mailwright.queue.tables import deliveries, lines
from mailwright.site import Limits
from mailwright.store.sqlite import DIALECT
from mailwright.store.statements import Query, Unit, unit

X = Selection(domain="x.example")


def drive(
    folder: Path, test: Callable[[Queue], Awaitable[None]], **more: object
) -> None:
    async def scenario() -> None:
        async with (
            open_queue(folder, clock=ManualClock(), **more) as queue,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(queue.scheduler.run())
            try:
                await test(queue)
            finally:
                queue.scheduler.stop()

    asyncio.run(scenario())


async def accept(queue: Queue, *recipients: str) -> None:
    at = queue.clock.now()
    await queue.intake.accept(make_submission(*recipients, at=at))


async def advance(queue: Queue, **span: float) -> None:
    assert isinstance(queue.clock, ManualClock)
    queue.clock.advance(timedelta(**span).total_seconds())
    await queue.store.ensure_day(queue.clock.now().date())
    queue.scheduler.wake()


def test_held_mail_expires_in_its_time_and_not_before(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        await queue.operations.hold(X, reason="r", author="a")
        await accept(queue, *(f"u{n}@x.example" for n in range(120)))
        await advance(queue, hours=20)
        await accept(queue, "later@x.example")

        assert await queue.expiry.sweep() == 0
        await advance(queue, hours=5)
        assert await queue.finished() == {}, "the control: nobody looked"
        assert await queue.expiry.sweep() == 120

        finished = await queue.finished()
        assert len(finished) == 120
        assert set(finished.values()) == {State.EXPIRED}
        (line,) = queue.book
        assert line.count == 1
        rows = await rows_of(queue.store, lines)
        assert rows[0][list(lines.c.keys()).index("count")] == 1
        events = [
            json.loads(data) for kind, data in await queue.events() if kind == "expired"
        ]
        assert events == [{"attempts": 0}] * 120
        assert queue.courier.carried.total() == 0
        assert await queue.expiry.sweep() == 0

    drive(tmp_path, test)


def test_mail_that_a_limit_keeps_expires_too(tmp_path: Path) -> None:
    slow = replace(PROFILE, overall=Limits(throttles=("1/h",)))

    async def test(queue: Queue) -> None:
        await accept(queue, "a@x.example", "b@x.example", "c@x.example")
        async with asyncio.timeout(120):
            while queue.courier.carried.total() < 1:
                await asyncio.sleep(0.005)
        async with asyncio.timeout(120):
            while any(line.sending for line in queue.book):
                await asyncio.sleep(0.005)
        assert isinstance(queue.clock, ManualClock)
        await queue.store.ensure_day((queue.clock.now() + timedelta(days=1)).date())
        queue.clock.advance(86_401)  # and the scheduler does not wake before
        assert await queue.expiry.sweep() == 2

    drive(tmp_path, test, profile=slow)


def test_nothing_expires_while_the_clock_is_suspect(tmp_path: Path) -> None:
    trust = ClockTrust()
    trust.compared(timedelta(days=3))

    async def test(queue: Queue) -> None:
        await queue.operations.hold(X, reason="r", author="a")
        await accept(queue, "a@x.example")
        await advance(queue, days=2)
        assert await queue.expiry.sweep() == 0
        trust.settle()
        assert await queue.expiry.sweep() == 1

    drive(tmp_path, test, trust=trust)


def test_what_is_not_for_it_is_passed_over(tmp_path: Path) -> None:
    """Many rows that it may not end come first: they neither stop it nor go round."""

    async def test(queue: Queue) -> None:
        await queue.operations.hold(X, reason="r", author="a")
        await accept(queue, *(f"u{n}@x.example" for n in range(230)))
        await queue.store.run(
            _unit(
                "UPDATE deliveries SET line = -1 WHERE id IN "
                "(SELECT id FROM deliveries ORDER BY expires_at, id LIMIT 150)"
            )
        )
        await advance(queue, days=2)
        assert await queue.expiry.sweep() == 80
        assert len(await rows_of(queue.store, deliveries)) == 150

    drive(tmp_path, test)


def _unit(statement: str) -> Unit:
    return unit(Query("by hand", text(statement))())


def test_the_search_reads_an_index_and_never_the_queue(tmp_path: Path) -> None:
    async def test(queue: Queue) -> None:
        sql = expiry_module._EXPIRED.compiled(DIALECT).text
        with closing(sqlite3.connect(tmp_path / "q.db")) as database:
            rows = database.execute(
                f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?")
            ).fetchall()
        plan = " ".join(str(row[-1]) for row in rows)
        assert "deliveries_expiry" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan

    drive(tmp_path, test)


def test_a_node_that_starts_ends_what_expired_while_it_was_held(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path) as first:
            await first.node.out.operations.hold(
                Selection(domain=DOMAIN), reason="r", author="a"
            )
            soon = datetime.now(UTC) + timedelta(seconds=5)
            body = message(f"a@{DOMAIN}", expires_at=soon.isoformat())
            answer = await first.http.post("/v1/messages", json=body)
            assert answer.status_code == 201, answer.text
        while datetime.now(UTC) < soon:
            await asyncio.sleep(0.1)
        async with running_node(tmp_path, settings=tmp_path / "node.toml") as second:
            events = await second.wait_events("expired")
            assert [each.type.value for each in events] == ["received", "expired"]
            assert second.receiver.contents == []

    asyncio.run(scenario())
