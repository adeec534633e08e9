"""The counts for metrics: what is counted, when, and that they stay few."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.queueing import (
    LATER,
    NO,
    OK,
    PROFILE,
    SOURCE,
    Queue,
    ScriptedCourier,
    make_submission,
    open_queue,
)
from mailwright.accounts.directory import Source
from mailwright.attempt import End, Parcel
from mailwright.events.types import EventType
from mailwright.ids import PoolId, SourceId
from mailwright.queue import tally as module
from mailwright.queue.tally import Counted, Histogram, Tally
from mailwright.reply import Reply

POOL = PoolId(1)


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_every_observation_is_in_one_bucket_at_most_its_bound(
    values: list[float],
) -> None:
    histogram = Histogram((0.1, 1, 10))
    for value in values:
        histogram.observe(value)
    assert histogram.counts == [
        sum(low < value <= high for value in values)
        for low, high in ((-1, 0.1), (0.1, 1), (1, 10), (10, 1e9))
    ]
    assert histogram.total == sum(values)


def test_a_copy_no_longer_grows() -> None:
    histogram = Histogram((1,))
    histogram.observe(0.5)
    copied = histogram.copy()
    histogram.observe(2)
    assert (copied.counts, copied.total) == ([1, 0], 0.5)


def test_events_are_counted_by_all_that_tells_them_apart() -> None:
    tally = Tally()
    for category in ("network", "network", "greylisted"):
        tally.count(EventType.DEFERRED, POOL, "google", SourceId(1), category)
    assert tally.events == {
        Counted(EventType.DEFERRED, POOL, "google", SourceId(1), "network"): 2,
        Counted(EventType.DEFERRED, POOL, "google", SourceId(1), "greylisted"): 1,
    }


def test_beyond_the_bound_counts_lose_source_and_pool_but_nothing_is_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SERIES_MAX", 3)
    tally = Tally()
    for number in range(100):
        tally.count(EventType.DELIVERED, POOL, "google", SourceId(number))
    assert len(tally.events) == 4
    assert sum(tally.events.values()) == 100


def test_what_is_counted_is_what_the_log_says(tmp_path: Path) -> None:
    """Every kind of end once: delivered, deferred, bounced, lost."""

    def script(parcel: Parcel, _source: Source) -> tuple[End, Reply]:
        kind = parcel.recipient.partition("@")[0]
        if parcel.attempt == 1 and kind in ("later", "lost"):
            return {
                "later": (End.REPLIED, LATER),
                "lost": (End.AMBIGUOUS, LATER),
            }[kind]
        return (End.REPLIED, NO if kind == "no" else OK)

    async def body(queue: Queue) -> None:
        await queue.intake.accept(
            make_submission(
                "yes@x.example", "no@x.example", "later@x.example", "lost@x.example"
            )
        )
        async with asyncio.timeout(120):
            while len(await queue.finished()) < 4:
                await asyncio.sleep(0.005)

    async def scenario() -> None:
        courier = ScriptedCourier(script)
        async with open_queue(tmp_path, courier=courier) as queue:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())
                await body(queue)
                queue.scheduler.stop()
            logged = Counter(
                (kind, event.get("category", ""), event.get("provider", ""))
                for kind, event in (
                    (kind, json.loads(data)) for kind, data in await queue.events()
                )
            )
            counted: Counter[tuple[str, str, str]] = Counter()
            for key, number in queue.tally.events.items():
                assert key.pool == POOL
                assert key.source == (
                    None if key.event is EventType.RECEIVED else SOURCE.id
                )
                counted[key.event.value, key.category, key.provider] += number
            assert counted == logged
            assert counted["received", "", ""] == 4
            assert counted["delivered", "", PROFILE.provider] == 3
            assert sum(queue.tally.accepts.counts) == 1
            assert sum(queue.tally.attempts[PROFILE.provider].counts) == 6

    asyncio.run(scenario())


def test_an_attempt_that_was_never_offered_is_not_timed(tmp_path: Path) -> None:
    ends = iter([End.NOT_OFFERED])

    def script(_parcel: Parcel, _source: Source) -> tuple[End, Reply]:
        return next(ends, End.REPLIED), OK

    async def scenario() -> None:
        courier = ScriptedCourier(script)
        async with open_queue(tmp_path, courier=courier) as queue:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.scheduler.run())
                await queue.intake.accept(make_submission("a@x.example"))
                async with asyncio.timeout(120):
                    while not await queue.finished():
                        await asyncio.sleep(0.005)
                queue.scheduler.stop()
            assert courier.carried["a@x.example"] == 2
            assert sum(queue.tally.attempts[PROFILE.provider].counts) == 1

    asyncio.run(scenario())
