"""Who may: keys, scopes, guess limits, and tenants that cannot see each other."""

import pytest

from fakes.api import START, THEIRS, Rig, drive
from mailwright.api.ports import DeliveryRecord, EventRecord, MessageRecord
from mailwright.events.types import EventType
from mailwright.ids import Kind, format_public

SMALL = {"from": "a@example.com", "to": ["b@example.org"], "text": "x"}
#: Every route that needs a key: method, path, and the credentials that may.
GUARDED = [
    ("POST", "/v1/messages", {"crm", "sender", "neighbour"}),
    ("GET", "/v1/messages/msg_20260301_0000000000001", {"crm", "reader", "neighbour"}),
    ("GET", "/v1/events", {"crm", "reader", "neighbour"}),
]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer mw_crm_wrong"},
        {"Authorization": "Bearer mw_nobody_" + "a" * 32},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Basic Y3JtOnNlY3JldA=="},
        {"Authorization": "Bearer ключ".encode("latin-1", "replace").decode("latin-1")},
    ],
)
def test_without_a_valid_key_nothing_is_answered(given: dict[str, str]) -> None:
    async def test(rig: Rig) -> None:
        for method, path, _ in GUARDED:
            response = await rig.client.request(method, path, headers=given, json=SMALL)
            assert response.status_code == 401, path
            assert response.headers["WWW-Authenticate"].startswith(
                'Bearer realm="mailwright"'
            )
            assert response.json()["type"] == "/docs#unauthorized"
            # A wrong key and an unknown name read alike, and neither is repeated.
            assert "mw_" not in response.text
        assert not rig.intake.submissions

    drive(test)


def test_each_route_needs_its_scope() -> None:
    async def test(rig: Rig) -> None:
        for method, path, allowed in GUARDED:
            for name in rig.keys:
                response = await rig.client.request(
                    method, path, headers=rig.auth(name), json=SMALL
                )
                is_forbidden = response.status_code == 403
                assert is_forbidden is (name not in allowed), (path, name)
                if is_forbidden:
                    challenge = response.headers["WWW-Authenticate"]
                    assert 'error="insufficient_scope"' in challenge
                    assert response.json()["type"] == "/docs#forbidden"

    drive(test)


def test_guessing_is_told_to_wait_and_the_body_is_not_read() -> None:
    async def test(rig: Rig) -> None:
        wrong = {"Authorization": "Bearer mw_crm_" + "a" * 32}
        statuses = []
        for _ in range(30):
            response = await rig.client.post("/v1/messages", headers=wrong, json=SMALL)
            statuses.append(response.status_code)
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert response.json()["type"] == "/docs#too-many-requests"
        rig.clock.advance(3600)
        assert (await rig.post(SMALL)).status_code == 201

    drive(test)


def test_a_tenant_sees_nothing_of_another() -> None:
    async def test(rig: Rig) -> None:
        ident = format_public(Kind.MESSAGE, START, 7)
        delivery = format_public(Kind.DELIVERY, START, 8)
        record = MessageRecord(
            ident,
            START,
            "theirs.example",
            "<1@theirs.example>",
            "foreign",
            10,
            deliveries=[DeliveryRecord(delivery, "victim@example.org", "queued")],
        )
        rig.reading.messages[THEIRS, 7] = record
        event = EventRecord(
            "1-1", START, EventType.RECEIVED, ident, delivery, "v@x.org"
        )
        rig.reading.log[THEIRS] = [event]

        seen = await rig.get(f"/v1/messages/{ident}", by="neighbour")
        assert seen.json()["deliveries"][0]["recipient"] == "victim@example.org"
        unseen = await rig.get(f"/v1/messages/{ident}")
        unknown = await rig.get(f"/v1/messages/{format_public(Kind.MESSAGE, START, 9)}")
        assert unseen.status_code == unknown.status_code == 404
        assert unseen.json() == unknown.json()
        assert len((await rig.get("/v1/events", by="neighbour")).json()["events"]) == 1
        for query in ("", f"?message={ident}"):
            assert (await rig.get(f"/v1/events{query}")).json()["events"] == []

        # Nor can it send as another, nor by another's stream.
        foreign = SMALL | {"from": "a@theirs.example"}
        assert (await rig.post(foreign)).status_code == 422
        assert (await rig.post(SMALL | {"stream": "foreign"})).status_code == 422
        assert (await rig.post(foreign, by="neighbour")).status_code == 201

    drive(test)
