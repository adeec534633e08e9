"""The first phase: what is edited before a message is stored.

The order is fixed: (1) fields are prepended, (2) fields that must not leave are removed,
(3) a missing Date or Message-ID is added, (5) text with overlong lines is re-encoded.
Place (4) belongs to List-Unsubscribe and to the session.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from mailwright.message import Field, fields, unfold
from mailwright.mta.edits.reencoding import reencode_text
from mailwright.mta.edits.removals import removal_of

MAX_LINE_OCTETS: Final = 998  # RFC 5322 §2.1.1, without CRLF
_MAX_NAME_SHOWN: Final = 64
_MAX_NAMES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it is stored.

    Attributes:
        header: header section with its final empty line.
        body: the body.
        message_id: value of its (first) Message-ID field, unfolded; as a rule with angle
            brackets.
        edits: what was changed or deliberately left, one short text each.
        controls: (name as spelt, unfolded value) of the removed fields by which the
            submitter speaks to us, in their order. A value is as long as the field was:
            the door's limit on the header bounds it.
    """

    header: bytes
    body: bytes
    message_id: str
    edits: tuple[str, ...] = ()
    controls: tuple[tuple[str, str], ...] = ()


def edit_for_storing(
    header: bytes,
    body: bytes,
    *,
    prepend: Sequence[bytes] = (),
    date: datetime,
    message_id: str | Callable[[], str],
    found: Sequence[Field] | None = None,
) -> Stored:
    """Return the message edited for storing.

    Args:
        header: header section with its final empty line, as :func:`message.split`
            gives it.
        body: the body.
        prepend: complete fields with their final CRLF, topmost first.
        date: for a message without a Date field; aware.
        message_id: for a message without a Message-ID field, with angle brackets; if
            callable, called only then.
        found: the fields of ``header``, if the caller has them.

    Cost: some 30 µs for 5 KB; MIME is parsed only if a line exceeds 998 octets.

    Raises:
        ValueError: ``date`` is naive, or a prepended field has no final CRLF.
    """
    if date.tzinfo is None:
        raise ValueError("a Date needs a time zone")
    if not all(field.endswith(b"\r\n") for field in prepend):
        raise ValueError("a prepended field ends in CRLF")
    if found is None:
        found = fields(header)
    kept, removed = _removed(header, found)
    names = {field.key for field in found}
    edits = _removal_report(removed)
    added: list[bytes] = []
    if b"date" not in names:
        added.append(f"Date: {format_datetime(date)}\r\n".encode())
        edits.append("added Date")
    if b"message-id" in names:
        ident = _text(next(f.value for f in found if f.key == b"message-id"))
    else:
        ident = message_id if isinstance(message_id, str) else message_id()
        added.append(f"Message-ID: {ident}\r\n".encode())
        edits.append("added Message-ID")
    header = b"".join((*prepend, *added, kept))
    if has_long_line(body):
        changed = reencode_text(
            header, body, is_unfit=has_long_line, trait="lines over 998 octets"
        )
        header, body = changed.header, changed.body
        edits += changed.edits
    controls = tuple(
        (field.name.decode(), _text(field.value))
        for field in removed
        if (removal := removal_of(field.key)) is not None and removal.is_control
    )
    return Stored(header, body, ident, tuple(edits), controls)


def has_long_line(octets: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether a line from ``start`` to ``end`` has more than 998 octets before its CRLF.

    Cost: one step for each kilobyte or so.
    """
    if end is None:
        end = len(octets)
    while end - start > MAX_LINE_OCTETS:
        # From a line's start its LF is among the first 1000 octets, or it is too long.
        last = octets.rfind(b"\n", start, min(start + MAX_LINE_OCTETS + 2, end))
        if last < 0:
            return True
        start = last + 1
    return False


def _removed(header: bytes, found: Sequence[Field]) -> tuple[bytes, list[Field]]:
    """Return the header without the fields that must not leave, and those fields."""
    removed = [field for field in found if removal_of(field.key) is not None]
    if not removed:
        return header, removed
    pieces = []
    start = 0
    for field in removed:
        pieces.append(header[start : field.start])
        start = field.end
    pieces.append(header[start:])
    return b"".join(pieces), removed


def _removal_report(removed: Sequence[Field]) -> list[str]:
    if not removed:
        return []
    counts = Counter(field.name[:_MAX_NAME_SHOWN].decode() for field in removed)
    edits = [
        f"removed {name}" if count == 1 else f"removed {name} ({count} times)"
        for name, count in counts.items()
    ]
    if len(edits) > _MAX_NAMES_SHOWN:
        more = len(edits) - _MAX_NAMES_SHOWN
        edits[_MAX_NAMES_SHOWN:] = [f"removed {more} more fields"]
    return edits


def _text(value: bytes) -> str:
    return unfold(value).decode(errors="replace")
