"""From uploaded rows to deliveries, on a real store."""

import asyncio
import json
import threading
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from fakes.campaigns import TENANT, new_campaign, open_campaigns
from fakes.queueing import rows_of, subject_of
from fakes.staged import MemoryStaging, sealing_of
from mailwright.bounce import suppression
from mailwright.bounce.tables import suppressions
from mailwright.clock import ManualClock, from_micros, to_micros
from mailwright.events.tables import events_of
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.job import JobState, Seed
from mailwright.queue.campaign.tables import (
    campaign_totals,
    recipients,
    rejects,
)
from mailwright.queue.recovery import load_lines
from mailwright.queue.tables import deliveries, lines, messages
from mailwright.store.ports import StoreFullError
from mailwright.store.statements import Query, unit

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
SUPPRESS = Query("suppress", insert(suppressions))


@asynccontextmanager
async def sealed_by(folder: Path, staging: MemoryStaging, clock=None):
    async with open_campaigns(folder, clock or ManualClock(START)) as campaigns:
        book = LineBook(campaigns.store.ids.take)
        await load_lines(campaigns.store, book)
        sealing = sealing_of(campaigns, book, staging, campaigns.store.ids.take)
        yield campaigns, book, sealing


def named(table, row) -> dict:
    return dict(zip(table.c.keys(), row, strict=True))


async def all_of(store, table) -> list[dict]:
    return [named(table, row) for row in await rows_of(store, table)]


async def suppress(store, address: str, *, tenant: int = 1, stream: int = 0) -> None:
    row = SUPPRESS(
        subject=subject_of(address),
        tenant=tenant,
        stream=stream,
        reason="manual",
        evidence="",
        author="test",
        is_provisional=0,
        created_at=0,
        ends_at=None,
    )
    await store.run(unit(row))


def test_every_row_has_an_outcome_and_each_accepted_one_its_delivery(
    tmp_path: Path,
) -> None:
    uploaded = [f"r{n}@{'abc'[n % 3]}.example" for n in range(1, 251)]
    uploaded[9] = uploaded[3]  # row 10 repeats row 4
    uploaded[19] = "not an address"
    stopped, theirs = uploaded[29], uploaded[30]

    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, book, sealing):
            await suppress(campaigns.store, stopped)
            await suppress(campaigns.store, theirs, tenant=2)
            made = await campaigns.jobs.create(new_campaign(tags=("t",)))
            staging.uploaded[made.id] = uploaded
            await campaigns.jobs.start(TENANT, made.id, "me")
            await sealing.seal(made.id)
            found = await campaigns.jobs.get(TENANT, made.id)
            assert found is not None
            assert found.state is JobState.RUNNING
            assert found.rows == {
                "uploaded": 250,
                "accepted": 247,
                "duplicate": 1,
                "invalid": 1,
                "suppressed": 1,
            }
            assert found.deliveries["queued"] == 247
            page = await campaigns.jobs.rejects(TENANT, made.id)
            assert page is not None
            assert [(each.row, each.outcome) for each in page.records] == [
                (10, "duplicate"),
                (20, "invalid"),
                (30, "suppressed"),
            ]
            assert page.records[2].reason == "manual, every stream"
            await check_rows(campaigns.store, made.id, uploaded)
            assert {each.id: each.count for each in book} == {
                each["id"]: each["count"]
                for each in await all_of(campaigns.store, lines)
            }
            assert not any(each.accepting for each in book)
            assert staging.forgotten == [made.id]

    asyncio.run(main())


async def check_rows(store, campaign: int, uploaded: list[str]) -> None:
    """See that the rows of all tables tell of the same recipients."""
    people = {each["message"]: each for each in await all_of(store, recipients)}
    mails = {each["id"]: each for each in await all_of(store, messages)}
    sent = {each["id"]: each for each in await all_of(store, deliveries)}
    queues = {each["id"]: each for each in await all_of(store, lines)}
    events = await all_of(store, events_of(START.date()))
    assert len(people) == len(mails) == len(sent) == len(events) == 247
    for each in sent.values():
        person, mail = people[each["message"]], mails[each["message"]]
        queue = queues[each["line"]]
        assert person["delivery"] == each["id"]
        assert person["address"] == each["recipient"] == uploaded[person["row"] - 1]
        assert json.loads(person["fields"]) == {"row": person["row"]}
        assert each["subject"] == subject_of(each["recipient"])
        assert queue["domain"] == each["recipient"].partition("@")[2]
        assert queue["timezone"] == person["timezone"]
        assert queue["campaign"] == mail["campaign"] == person["campaign"] == campaign
        assert each["band"] == person["row"] % 8
        assert mail["message_id"].endswith("@example.com>")
        assert mail["tags"] == '["t"]'
        assert mail["accepted_at"] == each["accepted_at"] == each["due_at"]
        assert from_micros(each["accepted_at"]) == START
    assert {each["delivery"] for each in events} == {*sent}
    assert {each["campaign"] for each in events} == {campaign}
    assert {each["type"] for each in events} == {"received"}
    assert {each["accepted_on"] for each in events} == {20260301}
    assert len({each["seq"] for each in events}) == 247
    counts = Counter(each["line"] for each in sent.values())
    assert {each["id"]: each["count"] for each in queues.values()} == counts


def test_seeds_come_at_their_positions_and_are_no_rows(tmp_path: Path) -> None:
    seeds = (
        Seed("me@s.example", {"n": 1}, every=100),
        Seed("you@s.example", positions=(1, 5000)),
    )

    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, _, sealing):
            made = await campaigns.jobs.create(new_campaign(seeds=seeds))
            staging.uploaded[made.id] = [f"r{n}@a.example" for n in range(350)]
            await campaigns.jobs.seal(TENANT, made.id, "me")
            await sealing.seal(made.id)
            found = await campaigns.jobs.get(TENANT, made.id)
            assert found is not None
            assert found.state is JobState.READY
            assert found.rows["accepted"] == 350
            assert found.deliveries["queued"] == 355
            people = await all_of(campaigns.store, recipients)
            seeded = Counter(each["address"] for each in people if each["is_seed"])
            assert seeded == {"me@s.example": 3, "you@s.example": 2}
            assert {each["row"] for each in people if each["is_seed"]} == {0}

    asyncio.run(main())


def test_results_are_paged_by_key_and_filtered(tmp_path: Path) -> None:
    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, _, sealing):
            made = await campaigns.jobs.create(new_campaign())
            staging.uploaded[made.id] = [f"r{n}@a.example" for n in range(120)] + [
                "x x"
            ]
            await campaigns.jobs.seal(TENANT, made.id, "me")
            await sealing.seal(made.id)
            seen: list[str] = []
            after = ""
            while True:
                page = await campaigns.jobs.recipients(
                    TENANT, made.id, after=after, limit=50
                )
                assert page is not None
                seen += [each.address for each in page.records]
                if page.next is None:
                    break
                after = page.next
            assert sorted(seen) == sorted(staged(120))
            done = await campaigns.jobs.recipients(TENANT, made.id, state="delivered")
            assert done is not None
            assert not done.records
            queued = await campaigns.jobs.recipients(TENANT, made.id, state="queued")
            assert queued is not None
            assert len(queued.records) == 120
            one = await campaigns.jobs.rejects(TENANT, made.id, limit=1)
            assert one is not None
            assert one.next == "121"

    asyncio.run(main())


def staged(count: int) -> list[str]:
    return [f"r{n}@a.example" for n in range(count)]


def test_a_seal_that_was_cancelled_amid_stops_and_writes_no_more(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, book, sealing):
            made = await campaigns.jobs.create(new_campaign())
            staging.uploaded[made.id] = staged(5000)
            await campaigns.jobs.seal(TENANT, made.id, "me")

            async def cancel() -> None:
                while not (known := campaigns.book.get(made.id)) or (
                    known.sealed_rows < 500
                ):
                    await asyncio.sleep(0)
                await campaigns.jobs.cancel(TENANT, made.id, "me")

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(cancel())
                tasks.create_task(sealing.seal(made.id))
            found = await campaigns.jobs.get(TENANT, made.id)
            assert found is not None
            assert found.state is JobState.CANCELLED
            written = len(await rows_of(campaigns.store, deliveries))
            assert 500 <= written < 5000
            assert found.rows["accepted"] == written == found.deliveries["queued"]
            assert sum(each.count for each in book) == written
            assert not any(each.accepting for each in book)

    asyncio.run(main())


def test_what_staging_cannot_give_fails_the_campaign_with_the_reason(
    tmp_path: Path,
) -> None:
    class Broken(MemoryStaging):
        def prepare(self, *_: object):
            raise OSError(5, "Input/output error")

    async def main() -> None:
        async with sealed_by(tmp_path, Broken()) as (campaigns, _, sealing):
            made = await campaigns.jobs.create(new_campaign())
            await campaigns.jobs.start(TENANT, made.id, "me")
            running = asyncio.create_task(sealing.run())
            while campaigns.book.get(made.id).state is JobState.SEALING:
                await asyncio.sleep(0.005)
            running.cancel()
            found = await campaigns.jobs.get(TENANT, made.id)
            assert found is not None
            assert found.state is JobState.FAILED
            assert "Input/output" in str(found.reason)
            assert not found.start_wanted

    asyncio.run(main())


def test_whatever_asks_to_be_sealed_is(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, _, sealing):
            running = asyncio.create_task(sealing.run())
            idents = []
            for count in (0, 3, 1500, 2):
                made = await campaigns.jobs.create(new_campaign())
                staging.uploaded[made.id] = staged(count)
                await campaigns.jobs.seal(TENANT, made.id, "me")
                idents.append(made.id)
            while any(
                campaigns.book.get(each).state is JobState.SEALING for each in idents
            ):
                await asyncio.sleep(0.005)
            running.cancel()
            totals = await all_of(campaigns.store, campaign_totals)
            assert {each["campaign"]: each["count"] for each in totals} == {
                idents[1]: 3,
                idents[2]: 1500,
                idents[3]: 2,
            }
            assert not await all_of(campaigns.store, rejects)

    asyncio.run(main())


def test_a_small_seal_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(MemoryStaging):
        def prepare(self, campaign: int, *about):
            if len(self.uploaded.get(campaign, ())) > 10:
                assert gate.wait(60)
            return super().prepare(campaign, *about)

    async def main() -> None:
        staging = Slow()
        async with sealed_by(tmp_path, staging) as (campaigns, _, sealing):
            running = asyncio.create_task(sealing.run())
            idents = []
            for count in (50, 3):
                made = await campaigns.jobs.create(new_campaign())
                staging.uploaded[made.id] = staged(count)
                await campaigns.jobs.seal(TENANT, made.id, "me")
                idents.append(made.id)
            large, small = idents
            async with asyncio.timeout(60):
                while campaigns.book.get(small).state is not JobState.READY:
                    await asyncio.sleep(0.005)
            assert campaigns.book.get(large).state is JobState.SEALING
            gate.set()
            async with asyncio.timeout(60):
                while campaigns.book.get(large).state is not JobState.READY:
                    await asyncio.sleep(0.005)
            running.cancel()

    asyncio.run(main())


def test_the_batch_says_of_a_subject_what_the_condition_says(tmp_path: Path) -> None:
    """The seal's own question agrees with the one that claims ask."""
    from sqlalchemy import bindparam, literal, select

    from mailwright.ids import StreamId, TenantId
    from mailwright.queue.campaign.suppressed import suppressed_among, suppressed_query

    people = [f"p{n}@a.example" for n in range(600)]

    async def main() -> None:
        async with sealed_by(tmp_path, MemoryStaging()) as (campaigns, _, _sealing):
            store = campaigns.store
            for n in range(0, 600, 7):
                await suppress(store, people[n], tenant=n % 3, stream=n % 2)
            found = await suppressed_among(
                store,
                suppressed_query(suppression),
                [subject_of(each) for each in people],
                TenantId(1),
                StreamId(1),
                START,
            )
            condition = suppression.is_suppressed(
                *(bindparam("subject"), bindparam("tenant")),
                *(bindparam("stream"), bindparam("now")),
            )
            one = Query("one", select(literal(1)).where(condition))
            for each in people:
                asked = one(
                    subject=subject_of(each), tenant=1, stream=1, now=to_micros(START)
                )
                (rows,) = await store.read(asked)
                assert bool(rows) == (subject_of(each) in found)
            assert len(found) > 20

    asyncio.run(main())


def test_a_seal_waits_for_room_on_the_disk_and_takes_no_ids_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        staging = MemoryStaging()
        async with sealed_by(tmp_path, staging) as (campaigns, _, sealing):
            made = await campaigns.jobs.create(new_campaign())
            staging.uploaded[made.id] = staged(300)
            await campaigns.jobs.seal(TENANT, made.id, "me")
            store = campaigns.store
            with monkeypatch.context() as patch:
                patch.setattr(type(store), "is_short", True)
                before = store.ids.take()
                with pytest.raises(StoreFullError):
                    await sealing.seal(made.id)
                assert store.ids.take() == before + 1
            assert not await rows_of(store, deliveries)
            await sealing.seal(made.id)
            assert len(await rows_of(store, deliveries)) == 300

    asyncio.run(main())
