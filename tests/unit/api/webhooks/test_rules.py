"""What is signed, what goes together, and what follows an attempt: pure rules."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from mailwright.accounts.sealing import Secret
from mailwright.api.ports import EventRecord
from mailwright.api.webhooks.batches import (
    MAX_EVENTS,
    MAX_OCTETS,
    body_of,
    cut,
    gap_event,
    name_of,
    written,
)
from mailwright.api.webhooks.endpoint import (
    Endpoint,
    EndpointState,
    Gap,
    endpoint_of,
    row_of,
)
from mailwright.api.webhooks.schedule import (
    JITTER,
    LADDER,
    PATIENCE,
    RETRY_AFTER_MAX,
    Result,
    after,
    delay,
)
from mailwright.api.webhooks.signing import PREFIX, headers_of, make_secret, shown
from mailwright.events.types import EventType
from mailwright.ids import TenantId, WebhookId

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDPOINT = Endpoint(
    WebhookId(7),
    TenantId(1),
    "crm",
    "https://crm.example/hook?key=hush",
    frozenset(),
    None,
    b"sealed",
    NOON,
    "position",
    offered="offered",
)


# -- signing ---------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_what_is_signed_is_verified_by_the_standards_own_library(extra: bytes) -> None:
    secret, body = make_secret(), json.dumps({"x": extra.hex()}).encode()
    headers = dict(headers_of("bat_1", datetime.now(UTC), body, [secret]))
    assert Webhook(shown(secret)).verify(body, headers) == json.loads(body)
    for broken in (
        (body + b" ", headers),
        (body, headers | {"webhook-id": "bat_2"}),
        (body, headers | {"webhook-timestamp": str(int(NOON.timestamp()))}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(shown(secret)).verify(*broken)


def test_a_signature_is_what_the_standard_says_it_is() -> None:
    # From the standard's own example (standard-webhooks.md, "Signature scheme").
    secret = Secret(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    at = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, [secret])
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-signature"] == signature


def test_while_a_secret_is_replaced_either_verifies() -> None:
    new, old, other = make_secret(), make_secret(), make_secret()
    headers = dict(headers_of("bat_1", datetime.now(UTC), b"{}", [new, old]))
    for secret in (new, old):
        Webhook(shown(secret)).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown(other)).verify(b"{}", headers)


def test_a_secret_is_as_long_as_the_standard_wants_and_is_not_in_its_repr() -> None:
    secret = make_secret()
    text = shown(secret)
    assert text.startswith(PREFIX)
    assert 24 <= len(base64.b64decode(text.removeprefix(PREFIX))) <= 64
    assert text[6:] not in repr(secret)
    assert secret != make_secret()


# -- batches ---------------------------------------------------------------------------


@given(st.lists(st.integers(1, MAX_OCTETS * 2), max_size=MAX_EVENTS + 5))
def test_a_batch_is_full_or_all_there_is_and_never_empty(sizes: list[int]) -> None:
    count = cut(sizes)
    assert min(len(sizes), 1) <= count <= MAX_EVENTS
    taken = sum(sizes[:count]) + count
    assert count <= 1 or taken <= MAX_OCTETS
    if count < min(len(sizes), MAX_EVENTS):
        assert taken + sizes[count] > MAX_OCTETS - 512


def test_a_body_is_within_its_limit_and_holds_events_as_they_are_read() -> None:
    record = EventRecord(
        "evt_1_2", NOON, EventType.BOUNCED, "msg", "dlv", "ä@example.org", {"code": 550}
    )
    events = [written(record)] * MAX_EVENTS
    body = body_of("whk_1", events, NOON)
    found = json.loads(body)
    assert found["type"] == "events"
    assert found["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert found["webhook"] == "whk_1"
    assert len(found["data"]) == MAX_EVENTS
    assert found["data"][0]["recipient"] == "ä@example.org"
    assert found["data"][0]["data"] == {"code": 550}
    size = MAX_OCTETS // 50
    several = [b'"' + b"x" * (size - 2) + b'"'] * MAX_EVENTS
    count = cut(map(len, several))
    assert len(body_of("whk_1", several[:count], NOON)) <= MAX_OCTETS


@given(st.lists(st.text("abc", min_size=1), min_size=1, unique=True), st.data())
def test_a_batch_is_named_after_its_events_and_nothing_else(
    ids: list[str], data: st.DataObject
) -> None:
    assert name_of("whk_1", ids) == name_of("whk_1", list(ids))
    other = data.draw(st.lists(st.text("abc", min_size=1), min_size=1, unique=True))
    assert (name_of("whk_1", ids) == name_of("whk_1", other)) == (ids == other)
    assert name_of("whk_1", ids) != name_of("whk_2", ids)


def test_the_event_of_a_gap_has_the_same_id_each_time() -> None:
    gap = Gap("a", "b", NOON)
    ident, event = gap_event("whk_1", gap)
    assert gap_event("whk_1", gap) == (ident, event)
    found = json.loads(event)
    assert found["type"] == "events.gap"
    assert found["id"] == ident
    assert found["data"] == {"after": "a", "until": "b"}
    assert gap_event("whk_2", gap)[0] != ident


# -- what follows an attempt -----------------------------------------------------------


def test_a_batch_that_arrives_moves_the_position_and_clears_the_slate() -> None:
    failing = replace(
        ENDPOINT,
        state=EndpointState.FAILING,
        failures=3,
        failing_since=NOON,
        next_attempt_at=NOON,
        gap=Gap("a", "b", NOON),
    )
    found = after(failing, Result(204), now=NOON, draw=0)
    assert (found.position, found.offered, found.gap) == ("offered", "", None)
    assert found.state is EndpointState.ACTIVE
    assert (found.failures, found.failing_since, found.next_attempt_at) == (
        0,
        None,
        None,
    )
    assert (found.last_status, found.last_error, found.delivered_at) == (204, "", NOON)


@pytest.mark.parametrize("status", [0, 100, 301, 302, 400, 404, 429, 500, 503])
def test_nothing_but_2xx_moves_the_position(status: int) -> None:
    found = after(ENDPOINT, Result(status, "why" * (not status)), now=NOON, draw=0)
    assert (found.position, found.offered) == ("position", "offered")
    assert found.state is EndpointState.FAILING
    assert found.failures == 1
    assert found.failing_since == NOON
    assert found.next_attempt_at == NOON + LADDER[0]
    assert found.last_status == status
    assert found.last_error


def test_410_disables() -> None:
    found = after(ENDPOINT, Result(410), now=NOON, draw=0)
    assert found.state is EndpointState.DISABLED
    assert not found.is_due(NOON + timedelta(days=9))
    assert "410" in found.reason
    assert found.position == "position"


def test_waits_grow_and_part_and_after_three_days_it_is_paused() -> None:
    endpoint, now, waits = ENDPOINT, NOON, []
    while endpoint.state is not EndpointState.PAUSED:
        endpoint = after(endpoint, Result(500), now=now, draw=0.5)
        if endpoint.next_attempt_at is not None:
            waits.append(endpoint.next_attempt_at - now)
            assert not endpoint.is_due(now)
            now = endpoint.next_attempt_at
            assert endpoint.is_due(now)
    assert PATIENCE <= now - NOON <= PATIENCE + LADDER[-1] * (1 + JITTER)
    assert waits == sorted(waits)
    assert waits[: len(LADDER)] == [step * (1 + JITTER / 2) for step in LADDER]
    assert "3 days" in endpoint.reason
    resumed = endpoint.resumed()
    assert resumed.is_due(now)
    assert (resumed.state, resumed.failures) == (EndpointState.ACTIVE, 0)
    assert resumed.offered == "offered"


def test_retry_after_is_waited_for_within_limits() -> None:
    def wait(text: str) -> timedelta:
        return delay(1, text, now=NOON, draw=0)

    assert wait("120") == timedelta(seconds=120)
    assert wait("1") == LADDER[0]
    assert wait("Sun, 01 Mar 2026 13:00:00 GMT") == timedelta(hours=1)
    assert wait("Sun, 01 Mar 2020 13:00:00 GMT") == LADDER[0]
    assert wait("9" * 60) == RETRY_AFTER_MAX
    assert wait("Fri, 31 Dec 9999 23:59:59 GMT") == RETRY_AFTER_MAX
    assert delay(9, "120", now=NOON, draw=0) == LADDER[-1]


@given(st.text(max_size=40))
def test_whatever_retry_after_says_there_is_a_bounded_wait(text: str) -> None:
    found = delay(1, text, now=NOON, draw=0.99)
    assert LADDER[0] <= found <= RETRY_AFTER_MAX * (1 + JITTER)


@pytest.mark.parametrize("status", [200, 410, 500])
def test_one_that_was_paused_meanwhile_stays_so(status: int) -> None:
    paused = ENDPOINT.paused("by its tenant")
    found = after(paused, Result(status), now=NOON, draw=0)
    assert found.state is EndpointState.PAUSED
    assert found.reason == "by its tenant"
    assert (found.position == "offered") is (status == 200)


# -- rows ------------------------------------------------------------------------------


def test_a_row_gives_back_what_was_put_into_it() -> None:
    full = replace(
        ENDPOINT,
        types=frozenset({EventType.BOUNCED, EventType.EXPIRED}),
        campaign="cmp_20260301_0000000000001",
        old_secret=b"older",
        old_secret_until=NOON,
        state=EndpointState.FAILING,
        gap=Gap("a", "b", NOON),
        failures=2,
        failing_since=NOON,
        next_attempt_at=NOON,
        last_attempt_at=NOON,
        last_status=0,
        last_error="timed out",
        delivered_at=NOON,
    )
    for endpoint in (ENDPOINT, full):
        assert endpoint_of(tuple(row_of(endpoint).values())) == endpoint
        assert "hush" not in repr(endpoint)
        assert "sealed" not in repr(endpoint)
