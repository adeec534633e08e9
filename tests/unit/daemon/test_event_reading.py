"""Events as tenants read them: joined with addresses, labels and what was said."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from fakes.running_node import DOMAIN, RunningNode, message, running_node
from fakes.scripted_receiver import Behaviour
from mailwright.clock import to_micros
from mailwright.events.log import About, write_event
from mailwright.events.types import EventType
from mailwright.ids import (
    CampaignId,
    DeliveryId,
    Kind,
    MessageId,
    TenantId,
    format_public,
)
from mailwright.queue.campaign.tables import campaigns, recipients
from mailwright.queue.event_labels import BATCH
from mailwright.store.statements import Query, unit


def drive(
    folder: Path,
    test: Callable[[RunningNode], Awaitable[None]],
    *behaviours: Behaviour,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), running_node(folder, *behaviours) as node:
            await test(node)

    asyncio.run(run())


async def events(node: RunningNode, **filters: str) -> list[dict[str, Any]]:
    """Read all events from the API."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        asked = {"after": after, "limit": "7", **filters}
        answer = await node.http.get("/v1/events", params=asked)
        page = answer.raise_for_status().json()
        found += page["events"]
        after = page["next"]
        if not page["more"] and not page["events"]:
            return found


async def post(node: RunningNode, body: dict[str, Any]) -> dict[str, Any]:
    answer = await node.http.post("/v1/messages", json=body)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def test_labels_and_the_reply_are_joined_when_events_are_read(tmp_path: Path) -> None:
    refused = Behaviour(
        replies={"RCPT": b"550 5.1.1 <gone@there.example> is unknown\r\n"}
    )

    async def test(node: RunningNode) -> None:
        labels = {"tags": ["spring", "50%_off"], "metadata": {"lead": "42"}}
        sent = await post(node, message(f"gone@{DOMAIN}", **labels))
        stored = await node.wait_events("bounced")
        assert "<address>" in stored[-1].data["text"]  # type: ignore[operator]
        first, last = await events(node)
        for event in (first, last):
            assert event["tags"] == ["spring", "50%_off"]
            assert event["metadata"] == {"lead": "42"}
            assert event["recipient"] == f"gone@{DOMAIN}"
            assert event["message"] == sent["id"]
            assert event["campaign"] is None
        assert (first["type"], last["type"]) == ("received", "bounced")
        assert last["data"]["text"] == "<gone@there.example> is unknown"

    drive(tmp_path, test, refused)


def test_filters_by_tag_and_recipient_let_through_just_what_they_name(
    tmp_path: Path,
) -> None:
    async def test(node: RunningNode) -> None:
        tagged = {
            tag: (await post(node, message(f"{n}@{DOMAIN}", tags=[tag])))["id"]
            for n, tag in enumerate(
                ["spring", "Spring", "spring%", 'a"b', "a_b", "a!b"]
            )
        }
        async with asyncio.timeout(120):
            while len(await node.events()) < 2 * len(tagged):
                await asyncio.sleep(0.01)
        for number, (tag, ident) in enumerate(tagged.items()):
            found = await events(node, tag=tag)
            assert [each["message"] for each in found] == [ident, ident], tag
            # Upper case in a domain is no other address.
            by = await events(node, recipient=f"{number}@{DOMAIN.upper()}")
            assert by == found
        assert await events(node, tag="pring") == []
        assert await events(node, recipient=f"nobody@{DOMAIN}") == []

    drive(tmp_path, test)


def test_events_of_a_campaign_carry_its_name_tags_and_the_recipients_metadata(
    tmp_path: Path,
) -> None:
    async def test(node: RunningNode) -> None:
        store, clock = node.node.state.store, node.node.clock
        now = clock.now()
        created = now - timedelta(days=3)
        tenant = next(iter(node.node.state.settings.directory().tenants))
        subject = node.node.state.settings.keys.subject_key.subject
        count = BATCH + 3
        for number, owner in ((7, tenant), (8, TenantId(99))):
            await store.run(unit(_campaign(number, owner, to_micros(created))))
        for n in range(count):
            about = About(
                tenant,
                MessageId(1000 + n),
                DeliveryId(2000 + n),
                subject(f"{n}@{DOMAIN}"),
                now.date(),
                CampaignId(7),
            )
            await store.run(
                unit(
                    _recipient(7, 1000 + n, 2000 + n, f"{n}@{DOMAIN}"),
                    write_event(store.node, now, EventType.RECEIVED, about, {}),
                )
            )
        await post(node, message(f"other@{DOMAIN}", tags=["spring"]))
        ident = format_public(Kind.CAMPAIGN, created, 7)
        for filters in ({"campaign": ident}, {"tag": "news"}):
            found = await events(node, **filters)
            assert len(found) == count
            assert {each["campaign"] for each in found} == {ident}
            assert all(each["tags"] == ["news", "spring"] for each in found)
        theirs = format_public(Kind.CAMPAIGN, created, 8)
        assert await events(node, campaign=theirs) == []

    drive(tmp_path, test)


_CAMPAIGN = Query("make campaign", insert(campaigns))
_RECIPIENT = Query("make recipient", insert(recipients))


def _blank(table: Any) -> dict[str, Any]:
    """Return a row of ``table`` that says nothing."""
    return {
        column.name: None
        if column.nullable
        else (0 if column.type.python_type is int else "")
        for column in table.columns
    }


def _campaign(number: int, tenant: int, at: int) -> Any:
    row = {"id": number, "tenant": tenant, "created_at": at}
    labels = {"tags": '["news","spring"]', "metadata": '{"season":"spring"}'}
    return _CAMPAIGN(**{**_blank(campaigns), **row, **labels})


def _recipient(campaign: int, message: int, delivery: int, address: str) -> Any:
    row = {"campaign": campaign, "message": message, "delivery": delivery}
    said = {"address": address, "metadata": f'{{"row":"{delivery}"}}'}
    return _RECIPIENT(**{**_blank(recipients), **row, **said})
