"""Streams of results: NDJSON or CSV, page by page, for as long as the client reads.

A page is read from a snapshot of its own and continued by its key, written as text in a
thread, and sent before the next one is read: memory and the loop are the same for a
hundred recipients and a million. A list that changes meanwhile shows each recipient as it
was when its page was read.

Spreadsheets run a cell that begins like a formula, and what recipients and receivers write
ends up in these cells: in CSV such a cell gets an apostrophe in front.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from mailwright.ids import Kind, format_public
from mailwright.queue.campaign.job import RecipientRecord, RejectRecord
from mailwright.queue.campaign.results import Page
from mailwright.store.json_text import to_json

#: Rows read at a time for a whole list. Measured on two busy cores: 250 hold the loop for
#: at most some 25 ms, 1000 for 130 ms, at much the same speed.
PAGE_ROWS: Final = 250
#: Rows in a page that is asked for.
MAX_LIMIT: Final = 1000
NEXT_HEADER: Final = "Next-After"
#: What a spreadsheet may take for a formula, as the first character of a cell.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_RECIPIENT: Final = (
    *("row", "email", "state", "category", "code", "enhanced", "reply", "at"),
    *("variant", "timezone", "is_seed", "message", "delivery", "metadata"),
)
_REJECT: Final = ("row", "email", "outcome", "reason")

#: One row: its members by name.
Members: TypeAlias = Mapping[str, Any]


class ListFormat(StrEnum):
    """How a list is written."""

    NDJSON = "ndjson"
    CSV = "csv"


_MEDIA: Final = {
    ListFormat.NDJSON: "application/x-ndjson",
    ListFormat.CSV: "text/csv; charset=utf-8; header=present",
}


def format_of(request: Request, asked: ListFormat | None) -> ListFormat:
    """Return the format that is asked for: by name, else by ``Accept``."""
    if asked is not None:
        return asked
    accepted = request.headers.get("accept", "")
    return ListFormat.CSV if "text/csv" in accepted else ListFormat.NDJSON


def _recipient(accepted_at: datetime, record: RecipientRecord) -> Members:
    values = (
        record.row,
        record.address,
        record.state,
        record.category,
        record.code or None,
        record.enhanced,
        record.reply,
        None if record.at is None else _instant(record.at),
        record.variant,
        record.timezone,
        record.is_seed,
        format_public(Kind.MESSAGE, accepted_at, record.message),
        format_public(Kind.DELIVERY, accepted_at, record.delivery),
        json.loads(record.metadata),
    )
    return dict(zip(_RECIPIENT, values, strict=True))


def _reject(record: RejectRecord) -> Members:
    values = (record.row, record.address, record.outcome, record.reason)
    return dict(zip(_REJECT, values, strict=True))


@dataclass(frozen=True, slots=True)
class Listing:
    """A list to write.

    Attributes:
        columns: names of the members, in the order of CSV.
        read: gives the page after a key; ``""`` is the first.
        show: makes members of a record; called in threads.
    """

    columns: Sequence[str]
    read: Callable[[str], Awaitable[Page[Any]]]
    show: Callable[[Any], Members]

    def written(
        self, records: Sequence[Any], form: ListFormat, *, has_head: bool = False
    ) -> bytes:
        """Return ``records`` as text."""
        rows = map(self.show, records)
        if form is ListFormat.NDJSON:
            return "".join(to_json(row) + "\n" for row in rows).encode()
        text = io.StringIO()
        # RFC 4180 §2: lines end in CRLF, a cell with a quote or a comma is quoted.
        writer = csv.writer(text)
        if has_head:
            writer.writerow(self.columns)
        writer.writerows([cell(row[name]) for name in self.columns] for row in rows)
        return text.getvalue().encode()


def recipients_listing(
    read: Callable[[str], Awaitable[Page[RecipientRecord]]], accepted_at: datetime
) -> Listing:
    """Return the list of recipients whose deliveries were accepted then."""
    return Listing(_RECIPIENT, read, partial(_recipient, accepted_at))


def rejects_listing(
    read: Callable[[str], Awaitable[Page[RejectRecord]]],
) -> Listing:
    """Return the list of rows that got no delivery."""
    return Listing(_REJECT, read, _reject)


async def listed(
    listing: Listing, form: ListFormat, *, after: str, is_whole: bool
) -> Response:
    """Return one page, with the next key in ``Next-After``, or the whole list.

    The first page is read before the answer begins, so that what is wrong with the
    question can still be told.
    """
    page = await listing.read(after)
    headers = {"Cache-Control": "no-store"}
    first = await asyncio.to_thread(listing.written, page.records, form, has_head=True)
    if not is_whole:
        if page.next is not None:
            headers[NEXT_HEADER] = page.next
        return Response(first, media_type=_MEDIA[form], headers=headers)

    async def stream() -> AsyncIterator[bytes]:
        yield first
        key = page.next
        while key is not None:
            more = await listing.read(key)
            key = more.next
            yield await asyncio.to_thread(listing.written, more.records, form)

    return StreamingResponse(stream(), media_type=_MEDIA[form], headers=headers)


def cell(value: object) -> str:
    """Return ``value`` as a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = to_json(value) if isinstance(value, dict | list) else str(value)
    is_number = isinstance(value, int | float)
    return "'" + text if text.startswith(_FORMULA) and not is_number else text


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
