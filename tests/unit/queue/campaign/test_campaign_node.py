"""Campaigns on a node that runs: from uploaded rows to what receivers saw."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from fakes.campaign_node import campaign_on, upload, wait_state
from fakes.running_node import DOMAIN, running_node
from fakes.scripted_receiver import Behaviour
from mailwright.ids import Kind, MessageId, parse_public
from mailwright.queue.campaign.job import JobState

pytestmark = pytest.mark.timeout(240)


def test_each_accepted_row_arrives_once_as_its_own_message(tmp_path: Path) -> None:
    people = [f"p{n}@{DOMAIN}" for n in range(120)]

    async def main() -> None:
        async with running_node(tmp_path) as running:
            jobs = running.node.campaigns.jobs
            made = await jobs.create(campaign_on(running))
            await upload(running, made.id, [*people, people[0], "no address"])
            await jobs.start(made.tenant, made.id, "me")
            done = await wait_state(running, made, JobState.DONE)
            assert done.rows == {
                "uploaded": 122,
                "accepted": 120,
                "duplicate": 1,
                "invalid": 1,
                "suppressed": 0,
            }
            assert done.deliveries["delivered"] == 120
            assert sum(done.deliveries.values()) == 120
            subjects = Counter(
                line
                for content in running.receiver.contents
                for line in content.split(b"\r\n")
                if line.startswith(b"Subject:")
            )
            assert subjects == {b"Subject: Hello N%d" % n: 1 for n in range(1, 121)}
            page = await jobs.recipients(made.tenant, made.id, state="delivered")
            assert page is not None
            assert sorted(each.address for each in page.records) == sorted(people)
            assert {each.code for each in page.records} == {250}
            events = Counter(each.type.value for each in await running.events())
            assert events == {"received": 120, "delivered": 120}
            abouts = {each.about.campaign for each in await running.events()}
            assert abouts == {made.id}

    asyncio.run(main())


def test_results_say_who_was_refused_and_why(tmp_path: Path) -> None:
    refusing = Behaviour(replies={"RCPT": b"550 5.1.1 No such user\r\n"})

    async def main() -> None:
        async with running_node(tmp_path, refusing) as running:
            jobs = running.node.campaigns.jobs
            made = await jobs.create(campaign_on(running))
            await upload(running, made.id, [f"p{n}@{DOMAIN}" for n in range(5)])
            await jobs.start(made.tenant, made.id, "me")
            done = await wait_state(running, made, JobState.DONE, JobState.HELD)
            assert done.deliveries["bounced"] == 5
            ((category, count),) = done.categories.items()
            assert count == 5
            page = await jobs.recipients(made.tenant, made.id, category=category)
            assert page is not None
            assert len(page.records) == 5
            first = page.records[0]
            assert (first.state, first.code, first.enhanced) == (
                "bounced",
                550,
                "5.1.1",
            )
            assert first.reply == "No such user"
            assert first.at is not None
            assert json.loads(first.fields)["name"].startswith("N")
            # Its results say it: there is no report to the reverse-path.
            events = Counter(each.type.value for each in await running.events())
            assert events == {"received": 5, "bounced": 5}

    asyncio.run(main())


def test_nothing_leaves_before_the_start_and_what_is_cancelled_is_taken_back(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with running_node(tmp_path) as running:
            jobs = running.node.campaigns.jobs
            made = await jobs.create(campaign_on(running))
            await upload(running, made.id, [f"p{n}@{DOMAIN}" for n in range(50)])
            await jobs.seal(made.tenant, made.id, "me")
            ready = await wait_state(running, made, JobState.READY)
            assert ready.deliveries["queued"] == 50
            assert ready.dated_at is None
            await jobs.cancel(made.tenant, made.id, "me")
            async with asyncio.timeout(60):
                while True:
                    found = await jobs.get(made.tenant, made.id)
                    assert found is not None
                    if found.finished_at is not None:
                        break
                    await asyncio.sleep(0.02)
            assert found.deliveries["cancelled"] == 50
            assert not running.receiver.contents
            assert running.node.campaigns.book.get(made.id) is None

    asyncio.run(main())


def test_a_message_of_a_campaign_can_be_shown_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path) as running:
            jobs = running.node.campaigns.jobs
            new = campaign_on(running)
            made = await jobs.create(new)
            await upload(running, made.id, [f"p@{DOMAIN}"])
            await jobs.start(made.tenant, made.id, "me")
            done = await wait_state(running, made, JobState.DONE)
            page = await jobs.recipients(made.tenant, made.id)
            assert page is not None
            (only,) = page.records
            shown = await jobs.rendered(made.tenant, only.message)
            assert shown is not None
            assert shown.merge is not None
            assert shown.body == new.content
            assert json.loads(shown.merge.fields) == {"name": "N1", "number": 1}
            assert shown.dated_at == done.dated_at
            (content,) = running.receiver.contents
            assert f"Message-ID: {shown.merge.message_id}".encode() in content
            accepted = await running.http.post(
                "/v1/messages",
                json={
                    "from": "a@example.com",
                    "to": [f"q@{DOMAIN}"],
                    "subject": "s",
                    "text": "t",
                },
            )
            public = accepted.raise_for_status().json()["id"]
            ident = parse_public(public, Kind.MESSAGE)
            assert ident is not None
            plain = await jobs.rendered(made.tenant, MessageId(ident.number))
            assert plain is not None
            assert plain.merge is None
            assert b"Subject: s" in plain.header

    asyncio.run(main())


def test_what_was_said_last_stays_with_a_recipient_that_ends_in_silence(
    tmp_path: Path,
) -> None:
    later = Behaviour(replies={"RCPT": b"450 4.2.1 Mailbox busy\r\n"})

    async def main() -> None:
        async with running_node(tmp_path, later) as running:
            jobs = running.node.campaigns.jobs
            made = await jobs.create(campaign_on(running))
            await upload(running, made.id, [f"p@{DOMAIN}"])
            await jobs.start(made.tenant, made.id, "me")
            await running.wait_events("deferred")
            page = await jobs.recipients(made.tenant, made.id, state="queued")
            assert page is not None
            assert [each.code for each in page.records] == [450]
            await jobs.cancel(made.tenant, made.id, "me")
            await running.wait_events("cancelled")
            page = await jobs.recipients(made.tenant, made.id, state="cancelled")
            assert page is not None
            (only,) = page.records
            assert (only.code, only.reply) == (450, "Mailbox busy")
            assert only.category == ""

    asyncio.run(main())
