"""The example's receiver of webhooks: what it refuses, and that it keeps each event once."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

EXAMPLE = Path(__file__).parents[3] / "examples" / "crm" / "receiver.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
NOW = 1_772_366_400


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_receiver", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECEIVER = load()


def signed(body: bytes, *secrets: str, at: int = NOW, ident: str = "bat_1") -> Any:
    """Return the header fields that an implementation of others makes."""
    instant = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(each).sign(ident, instant, body.decode()) for each in secrets]
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }


def test_the_signature_of_another_implementation_is_taken() -> None:
    body = '{"type":"events","data":[{"id":"ä"}]}'.encode()
    RECEIVER.verify(SECRET + "\n", signed(body, SECRET), body, now=NOW)
    RECEIVER.verify(SECRET, signed(body, OTHER, SECRET), body, now=NOW + 299)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": "v1,AAAA"}, "wrong signature"),
        ({"webhook-signature": ""}, "without signature"),
        ({"webhook-id": "bat_2"}, "wrong signature"),
        ({"webhook-id": ""}, "without signature"),
        ({"webhook-timestamp": str(NOW + 1)}, "wrong signature"),
        ({"webhook-timestamp": str(NOW - 301)}, "timestamp too far off"),
        ({"webhook-timestamp": str(NOW + 301)}, "timestamp too far off"),
        ({"webhook-timestamp": "now"}, "without signature"),
    ],
)
def test_what_the_node_did_not_sign_now_is_refused(
    change: dict[str, str], reason: str
) -> None:
    body = b'{"data":[]}'
    with pytest.raises(RECEIVER.SignatureError, match=reason):
        RECEIVER.verify(SECRET, {**signed(body, SECRET), **change}, body, now=NOW)


def test_another_body_or_secret_is_refused() -> None:
    headers = signed(b'{"data":[]}', SECRET)
    with pytest.raises(RECEIVER.SignatureError):
        RECEIVER.verify(SECRET, headers, b'{"data":[1]}', now=NOW)
    with pytest.raises(RECEIVER.SignatureError):
        RECEIVER.verify(OTHER, headers, b'{"data":[]}', now=NOW)


@contextmanager
def serving(out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    monkeypatch.setattr(RECEIVER.time, "time", lambda: NOW)
    events = RECEIVER.Events(out)
    server = RECEIVER.receiver(("127.0.0.1", 0), lambda: SECRET, events)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", events
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        events.close()


def batch(*idents: str) -> bytes:
    events = [{"id": each, "type": "delivered"} for each in idents]
    return json.dumps({"type": "events", "data": events}).encode()


def test_each_event_is_kept_once_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "events.ndjson"

    def post(url: str, body: bytes, *secrets: str) -> int:
        headers = signed(body, *secrets)
        return httpx.post(
            url, content=body, headers=headers, trust_env=False
        ).status_code

    with serving(out, monkeypatch) as (url, events):
        assert post(url, batch("evt_1", "evt_2"), SECRET) == 204
        assert post(url, batch("evt_2", "evt_3"), SECRET) == 204
        assert post(url, batch("evt_4"), OTHER) == 401
        assert (events.counts["delivered"], events.repeated) == (3, 1)
    with serving(out, monkeypatch) as (url, events):
        assert post(url, batch("evt_3", "evt_4"), SECRET) == 204
        assert events.counts["delivered"] == 4
    kept = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert kept == ["evt_1", "evt_2", "evt_3", "evt_4"]
