"""Contents of campaigns as JSON, and messages made of them."""

import base64
import json
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from mailwright.merge import Merge
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import CompiledContent, compile_content, render

DATED = datetime(2026, 3, 1, 9, tzinfo=UTC)
ANN = "ann@example.net"
MESSAGE_ID = "<m1@shop.example>"


def content_json(**changes: Any) -> bytes:
    """Return a content that is right, with ``changes``; ``None`` takes a key out."""
    value: dict[str, Any] = {
        "from": {"address": "news@shop.example", "name": "The Shop"},
        "subject": "Hello {{ name }}",
        "text": "Dear {{ name }}\n",
    }
    value |= changes
    kept = {key: each for key, each in value.items() if each is not None}
    return json.dumps(kept).encode()


def compiled(**changes: Any) -> CompiledContent:
    return compile_content(parse_content(content_json(**changes)))


def merge_of(
    fields: dict[str, Any] | None = None, variant: str = "", recipient: str = ANN
) -> Merge:
    octets = json.dumps({"name": "Ann"} if fields is None else fields).encode()
    return Merge(1, octets, variant, recipient, MESSAGE_ID)


def rendered(
    own: dict[str, Any] | None = None, variant: str = "", /, **changes: Any
) -> Composed:
    return render(compiled(**changes), merge_of(own, variant), dated_at=DATED)


def read(composed: Composed) -> EmailMessage:
    """Read a message with Python's own reader, which wrote none of it."""
    message = BytesParser(policy=policy.default).parsebytes(composed.octets)
    assert isinstance(message, EmailMessage)
    return message


def part_of(message: EmailMessage, kind: str) -> str:
    """Return the text of a ``plain`` or ``html`` part, with LF."""
    part = message.get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def attachment(**changes: Any) -> dict[str, Any]:
    return {
        "filename": "a.pdf",
        "content_type": "application/pdf",
        "content": base64.b64encode(b"%PDF").decode(),
        **changes,
    }
