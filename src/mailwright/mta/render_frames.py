"""What a node and its rendering processes say to each other.

A frame is a kind of one octet, the length of its payload (32 bits, big-endian), the
payload. The node sends contents (no answer), things to forget (no answer) and jobs (one
answer each, in their order). Neither side trusts the other with more than octets: nothing
here is unpickled.
"""

import json
import struct
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, NamedTuple

from mailwright.clock import from_micros, to_micros
from mailwright.merge import Merge
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.template import RenderError

HEAD: Final = struct.Struct(">BI")
_LENGTH: Final = struct.Struct(">I")
_CONTENT: Final = struct.Struct(">q")


class Kind(IntEnum):
    """What a frame is."""

    CONTENT = 1  # number, then the content's JSON
    FORGET = 2  # number
    RENDER = 3
    PREVIEW = 4
    MADE = 5  # length of the header section, header section, body
    REFUSED = 6
    PREVIEWED = 7
    ANSWER = 8  # write the answers that there are


class Job(NamedTuple):
    """One message to make."""

    merge: Merge
    dated_at: datetime


def frame(kind: Kind, payload: bytes) -> bytes:
    """Return a frame."""
    return HEAD.pack(kind, len(payload)) + payload


def content_frame(number: int, body: bytes) -> bytes:
    """Return the frame that makes a content known under ``number``."""
    return frame(Kind.CONTENT, _CONTENT.pack(number) + body)


def parse_content_frame(payload: bytes) -> tuple[int, bytes]:
    """Return number and JSON of a content."""
    return _CONTENT.unpack_from(payload)[0], payload[_CONTENT.size :]


def forget_frame(number: int) -> bytes:
    """Return the frame that ends what :func:`content_frame` began."""
    return frame(Kind.FORGET, _CONTENT.pack(number))


def parse_forget(payload: bytes) -> int:
    """Return the number of the content to forget."""
    number: int = _CONTENT.unpack(payload)[0]
    return number


def job_frame(kind: Kind, job: Job) -> bytes:
    """Return the frame of a rendering or a preview."""
    merge = job.merge
    head = [
        merge.content,
        merge.variant,
        merge.recipient,
        merge.message_id,
        to_micros(job.dated_at),
    ]
    # JSON has no line end of its own, so the first one ends it.
    return frame(kind, json.dumps(head).encode() + b"\n" + merge.fields)


def parse_job(payload: bytes) -> Job:
    """Return what a frame asks for."""
    head, _, fields = payload.partition(b"\n")
    content, variant, recipient, message_id, micros = json.loads(head)
    merge = Merge(content, fields, variant, recipient, message_id)
    return Job(merge, from_micros(micros))


def made_frame(composed: Composed) -> bytes:
    """Return the answer that is a message."""
    head = _LENGTH.pack(len(composed.header))
    return b"".join(
        (
            HEAD.pack(Kind.MADE, len(head) + len(composed.header) + len(composed.body)),
            head,
            composed.header,
            composed.body,
        )
    )


def parse_made(payload: bytes) -> Composed:
    """Return the message."""
    (length,) = _LENGTH.unpack_from(payload)
    end = _LENGTH.size + length
    return Composed(payload[_LENGTH.size : end], payload[end:])


def refused_frame(error: RenderError) -> bytes:
    """Return the answer that there is no message."""
    value = [error.field, error.reason, error.missing]
    return frame(Kind.REFUSED, json.dumps(value).encode())


def parse_refused(payload: bytes) -> RenderError:
    """Return why there is no message."""
    field, reason, missing = json.loads(payload)
    return RenderError(field, reason, missing)


def previewed_frame(value: dict[str, Any]) -> bytes:
    """Return the answer that is a preview."""
    return frame(Kind.PREVIEWED, json.dumps(value).encode())


def parse_previewed(payload: bytes) -> dict[str, Any]:
    """Return the preview's values."""
    value: dict[str, Any] = json.loads(payload)
    return value
