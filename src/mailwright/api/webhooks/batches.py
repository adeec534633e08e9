"""Batches: which events go together, what they are called, how they are written.

A body is JSON: ``{"type":"events","timestamp":…,"webhook":"whk_…","data":[event, …]}``.
The name of a batch says what is in it: the same events to the same endpoint have the same
name, whenever they are sent.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import TypeAdapter

from mailwright.api.ports import EventRecord
from mailwright.api.webhooks.endpoint import Gap
from mailwright.store.json_text import to_json

MAX_EVENTS: Final = 100
#: Of a body, all in all. One event that is larger goes alone.
MAX_OCTETS: Final = 256_000
_AROUND_OCTETS: Final = 256
_RECORD: Final = TypeAdapter(EventRecord)


def written(record: EventRecord) -> bytes:
    """Return an event as JSON, just as ``GET /v1/events`` has it."""
    return _RECORD.dump_json(record)


def cut(sizes: Iterable[int]) -> int:
    """Return how many of the events, of which these are the octets, go together."""
    count, octets = 0, _AROUND_OCTETS
    for size in sizes:
        octets += size + 1
        if count == MAX_EVENTS or (count and octets > MAX_OCTETS):
            break
        count += 1
    return count


def name_of(webhook: str, events: Iterable[str]) -> str:
    """Return the ``webhook-id`` of a batch: 128 bits that follow from what is in it."""
    digest = hashlib.sha256("\n".join([webhook, *events]).encode()).digest()
    return "bat_" + base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def body_of(webhook: str, events: Sequence[bytes], at: datetime) -> bytes:
    """Return the body that holds ``events``, which are JSON each."""
    head = to_json({"type": "events", "timestamp": _text(at), "webhook": webhook})
    return head[:-1].encode() + b',"data":[' + b",".join(events) + b"]}"


def gap_event(webhook: str, gap: Gap) -> tuple[str, bytes]:
    """Return id and JSON of the event that tells of dropped events."""
    ident = "gap_" + name_of(webhook, [gap.after, gap.until]).removeprefix("bat_")
    data = {"after": gap.after, "until": gap.until}
    return ident, _special(ident, gap.found_at, "events.gap", data)


def test_event(webhook: str, number: int, at: datetime) -> tuple[str, bytes]:
    """Return id and JSON of an event that only shows that an endpoint hears."""
    ident = "tst_" + name_of(webhook, [str(number)]).removeprefix("bat_")
    return ident, _special(ident, at, "webhook.test", {})


def _special(ident: str, at: datetime, kind: str, data: object) -> bytes:
    event = {"id": ident, "at": _text(at), "type": kind, "data": data}
    return to_json(event).encode()


def _text(at: datetime) -> str:
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
