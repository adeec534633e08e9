"""``GET``: messages with their attempts, events by cursor, health, documents."""

from datetime import timedelta
from typing import Any

import pytest

from fakes.api import OURS, START, Rig, drive
from mailwright.api.ports import (
    AttemptRecord,
    DeliveryRecord,
    EventRecord,
    MessageRecord,
)
from mailwright.api.problems import Kind as ProblemKind
from mailwright.events.types import EventType
from mailwright.ids import Kind, format_public
from mailwright.reply import Phase, Reply

IDENT = format_public(Kind.MESSAGE, START, 1)


def delivery_id(number: int) -> str:
    return format_public(Kind.DELIVERY, START, number)


def test_a_message_shows_each_reply_of_each_delivery() -> None:
    async def test(rig: Rig) -> None:
        later = Reply(450, "4.2.0", "greylisted", Phase.RCPT)
        rig.reading.messages[OURS, 1] = MessageRecord(
            IDENT,
            START,
            "example.com",
            "<1@example.com>",
            "news",
            4321,
            ["spring"],
            {"lead": "42"},
            ["added Date"],
            [
                DeliveryRecord(
                    delivery_id(2),
                    "b@example.org",
                    "queued",
                    due_at=START + timedelta(minutes=5),
                    waiting_for="its next attempt",
                    attempts=[
                        AttemptRecord(
                            1,
                            START,
                            EventType.DEFERRED,
                            later,
                            "main",
                            "mx.example.org [192.0.2.1]",
                            "TLSv1.3",
                            "greylisted",
                            ["8-bit text as quoted-printable"],
                        )
                    ],
                ),
                DeliveryRecord(
                    delivery_id(3), "c@example.org", "delivered", finished_at=START
                ),
            ],
        )
        response = await rig.get(f"/v1/messages/{IDENT}", by="reader")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        found = response.json()
        deliveries = found.pop("deliveries")
        assert found == {
            "id": IDENT,
            "accepted_at": "2026-03-01T12:00:00Z",
            "from_domain": "example.com",
            "message_id": "<1@example.com>",
            "stream": "news",
            "size_octets": 4321,
            "tags": ["spring"],
            "metadata": {"lead": "42"},
            "edits": ["added Date"],
        }
        assert deliveries[0] == {
            "id": delivery_id(2),
            "recipient": "b@example.org",
            "state": "queued",
            "due_at": "2026-03-01T12:05:00Z",
            "expires_at": None,
            "finished_at": None,
            "waiting_for": "its next attempt",
            "attempts": [
                {
                    "number": 1,
                    "at": "2026-03-01T12:00:00Z",
                    "event": "deferred",
                    "reply": {
                        "code": 450,
                        "enhanced": "4.2.0",
                        "text": "greylisted",
                        "phase": "rcpt",
                        "origin": "remote",
                    },
                    "source": "main",
                    "hop": "mx.example.org [192.0.2.1]",
                    "tls": "TLSv1.3",
                    "category": "greylisted",
                    "edits": ["8-bit text as quoted-printable"],
                }
            ],
            "holds": [],
        }
        assert (deliveries[1]["state"], deliveries[1]["due_at"]) == ("delivered", None)

    drive(test)


def test_a_message_to_many_is_shown_whole() -> None:
    async def test(rig: Rig) -> None:
        many = [
            DeliveryRecord(delivery_id(n), "b@x.org", "queued") for n in range(1000)
        ]
        rig.reading.messages[OURS, 1] = MessageRecord(
            IDENT, START, "example.com", "<1@x>", "news", 1, deliveries=many
        )
        found = (await rig.get(f"/v1/messages/{IDENT}")).json()
        assert [each["id"] for each in found["deliveries"]] == [
            each.id for each in many
        ]

    drive(test)


def test_what_is_no_message_of_ours_is_not_found() -> None:
    idents = [
        IDENT,
        delivery_id(1),
        "msg_20269999_0000000000001",
        "msg_20260301_zzzzzzzzzzzzz",
        "1",
        "..%2f..%2fetc",
        "%00",
        "a" * 3000,
    ]

    async def test(rig: Rig) -> None:
        for ident in idents:
            response = await rig.get(f"/v1/messages/{ident}")
            assert response.status_code == 404, ident
            assert response.json()["type"] == "/docs#not-found"

    drive(test)


def test_events_are_read_page_by_page_and_each_once() -> None:
    async def test(rig: Rig) -> None:
        types = [EventType.RECEIVED, EventType.DEFERRED, EventType.DELIVERED]
        rig.reading.log[OURS] = [
            EventRecord(
                f"1-{number}",
                START,
                types[number % 3],
                format_public(Kind.MESSAGE, START, number % 2),
                delivery_id(number),
                "b@example.org",
                {"attempt": number},
            )
            for number in range(7)
        ]
        seen: list[Any] = []
        after = ""
        while True:
            page = (await rig.get(f"/v1/events?limit=3&after={after}")).json()
            seen += page["events"]
            after = page["next"]
            if not page["events"]:
                break
        assert [event["id"] for event in seen] == [f"1-{n}" for n in range(7)]
        assert seen[1] == {
            "id": "1-1",
            "at": "2026-03-01T12:00:00Z",
            "type": "deferred",
            "message": IDENT,
            "delivery": delivery_id(1),
            "recipient": "b@example.org",
            "data": {"attempt": 1},
            "campaign": None,
            "tags": [],
            "metadata": {},
        }
        some = (await rig.get("/v1/events?type=deferred&type=delivered")).json()
        assert {event["type"] for event in some["events"]} == {"deferred", "delivered"}
        of_one = (await rig.get(f"/v1/events?message={IDENT}")).json()
        assert {event["message"] for event in of_one["events"]} == {IDENT}
        # What comes later is read on from the last cursor.
        rig.reading.log[OURS].append(rig.reading.log[OURS][0])
        page = (await rig.get(f"/v1/events?after={after}")).json()
        assert len(page["events"]) == 1

    drive(test)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=nonsense", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("type=exploded", "type[0]"),
        ("message=1", "message"),
        ("campaign=1", "campaign"),
        (f"campaign={IDENT}", "campaign"),
        ("tag=", "tag"),
        ("recipient=nobody", "recipient"),
        ("recipients=a@example.org", "recipients"),
        ("after=" + "1" * 2000, "after"),
    ],
)
def test_bad_parameters_are_named(query: str, field: str) -> None:
    async def test(rig: Rig) -> None:
        response = await rig.get(f"/v1/events?{query}")
        assert response.status_code == 422
        assert response.headers["Content-Type"] == "application/problem+json"
        assert [error["field"] for error in response.json()["errors"]] == [field]

    drive(test)


def test_health_needs_no_key() -> None:
    async def test(rig: Rig) -> None:
        assert (await rig.client.get("/healthz")).json() == {"status": "alive"}
        assert (await rig.client.get("/readyz")).status_code == 200
        rig.unready.append("the node is stopping")
        response = await rig.client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["reasons"] == ["the node is stopping"]
        assert (await rig.client.get("/healthz")).status_code == 200

    drive(test)


def test_unknown_paths_and_methods_are_problems_too() -> None:
    async def test(rig: Rig) -> None:
        missing = await rig.get("/v1/nothing")
        assert (missing.status_code, missing.json()["type"]) == (404, "/docs#not-found")
        wrong = await rig.client.delete("/v1/messages", headers=rig.auth())
        assert wrong.status_code == 405
        assert wrong.headers["Allow"] == "POST"
        assert wrong.json()["type"] == "/docs#method-not-allowed"

    drive(test)


def test_the_document_describes_bodies_keys_and_problems() -> None:
    async def test(rig: Rig) -> None:
        document = (await rig.client.get("/openapi.json")).json()
        post = document["paths"]["/v1/messages"]["post"]
        body = post["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/MessageIn"}
        schemas = document["components"]["schemas"]
        assert "from" in schemas["MessageIn"]["properties"]
        assert schemas["MessageIn"]["additionalProperties"] is False
        names = {each["name"] for each in post["parameters"]}
        assert names == {"Idempotency-Key", "rcpt", "mail_from"}
        assert post["security"] == [{"key": []}]
        assert "/docs" not in document["paths"]
        assert len(document["x-problems"]) == len(ProblemKind)
        delivery = schemas["DeliveryRecord"]
        assert delivery["description"] == "One delivery of a message."
        assert delivery["properties"]["state"]["description"].startswith("queued, ")
        for reference in references(document):
            name = reference.removeprefix("#/components/schemas/")
            assert name in schemas, reference

    drive(test)


def references(value: Any) -> list[str]:
    """Every ``$ref`` in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in references(item)]
    if isinstance(value, list):
        return [each for item in value for each in references(item)]
    return []


def test_the_page_asks_no_other_host() -> None:
    async def test(rig: Rig) -> None:
        for path in ("/docs", "/docs/docs.css", "/docs/docs.js"):
            response = await rig.client.get(path)
            assert response.status_code == 200
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            for mark in ("http://", "https://", "//cdn", "@import", "url("):
                assert mark not in response.text, (path, mark)

    drive(test)
