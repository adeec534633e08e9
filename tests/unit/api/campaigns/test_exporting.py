"""Results as streams: page by page, as long as somebody reads, safe in a spreadsheet."""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.responses import StreamingResponse

from mailwright.api.campaigns.exports import (
    NEXT_HEADER,
    ListFormat,
    Listing,
    cell,
    listed,
    recipients_listing,
    rejects_listing,
)
from mailwright.ids import DeliveryId, MessageId
from mailwright.queue.campaign.job import RecipientRecord, RejectRecord
from mailwright.queue.campaign.results import Page

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def recipient(number: int, **changes: Any) -> RecipientRecord:
    values: dict[str, Any] = {
        "row": number,
        "message": MessageId(number),
        "delivery": DeliveryId(number),
        "address": f"p{number}@b.example",
        "fields": "{}",
        "metadata": '{"crm":"7"}',
        "timezone": "",
        "variant": "",
        "is_seed": False,
        "state": "bounced",
        "category": "no_mailbox",
        "code": 550,
        "enhanced": "5.1.1",
        "reply": "no such user",
        "at": AT,
    }
    return RecipientRecord(**values | changes)


class Pages:
    """Gives so many records, a page at a time, and notes how far it was asked."""

    def __init__(self, count: int, page: int = 10) -> None:
        self._records = [recipient(number) for number in range(1, count + 1)]
        self._page = page
        self.asked: list[str] = []

    async def __call__(self, after: str) -> Page[RecipientRecord]:
        self.asked.append(after)
        start = int(after or 0)
        some = self._records[start : start + self._page]
        end = start + len(some)
        return Page(some, str(end) if end < len(self._records) else None)


async def whole(listing: Listing, form: ListFormat) -> bytes:
    answer = await listed(listing, form, after="", is_whole=True)
    assert isinstance(answer, StreamingResponse)
    return b"".join([piece async for piece in answer.body_iterator])  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, 1, 10, 25])
def test_a_whole_list_is_every_page(count: int) -> None:
    async def main() -> None:
        listing = recipients_listing(Pages(count), AT)
        lines = (await whole(listing, ListFormat.NDJSON)).decode().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["row"] for row in rows] == [*range(1, count + 1)]
        text = (await whole(listing, ListFormat.CSV)).decode()
        table = list(csv.DictReader(io.StringIO(text)))
        assert [int(row["row"]) for row in table] == [*range(1, count + 1)]
        assert text.startswith("row,email,state,")

    asyncio.run(main())


def test_a_row_says_what_became_of_its_recipient() -> None:
    async def main() -> None:
        (line,) = (
            await whole(recipients_listing(Pages(1), AT), ListFormat.NDJSON)
        ).splitlines()
        assert json.loads(line) == {
            "row": 1,
            "email": "p1@b.example",
            "state": "bounced",
            "category": "no_mailbox",
            "code": 550,
            "enhanced": "5.1.1",
            "reply": "no such user",
            "at": "2026-03-01T12:00:00Z",
            "variant": "",
            "timezone": "",
            "is_seed": False,
            "message": "msg_20260301_0000000000001",
            "delivery": "dlv_20260301_0000000000001",
            "metadata": {"crm": "7"},
        }

    asyncio.run(main())


def test_a_page_names_the_next_one() -> None:
    async def main() -> None:
        listing = recipients_listing(Pages(25), AT)
        seen: list[int] = []
        after: str | None = ""
        while after is not None:
            answer = await listed(
                listing, ListFormat.NDJSON, after=after, is_whole=False
            )
            lines = bytes(answer.body).decode().splitlines()
            seen += [json.loads(line)["row"] for line in lines]
            after = answer.headers.get(NEXT_HEADER)
        assert seen == [*range(1, 26)]

    asyncio.run(main())


def test_no_page_is_read_before_the_one_before_was_taken() -> None:
    async def main() -> None:
        pages = Pages(1000)
        answer = await listed(
            recipients_listing(pages, AT), ListFormat.CSV, after="", is_whole=True
        )
        assert isinstance(answer, StreamingResponse)
        pieces = aiter(answer.body_iterator)
        for taken in range(1, 6):
            await anext(pieces)
            assert len(pages.asked) == taken, "read ahead of its reader"

    asyncio.run(main())


def test_rows_are_written_away_from_the_loop() -> None:
    threads: list[bool] = []

    def show(record: RejectRecord) -> dict[str, Any]:
        threads.append(threading.current_thread() is threading.main_thread())
        return {"row": record.row}

    async def main() -> None:
        async def read(_: str) -> Page[RejectRecord]:
            return Page([RejectRecord(1, "a", "invalid", "x")], None)

        await whole(Listing(("row",), read, show), ListFormat.CSV)
        assert threads == [False]

    asyncio.run(main())


FORMULAS = ["=1+1", "+1", "-1@b.example", "@SUM(A1)", "\tx", "\rx", "=HYPERLINK(1)"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (-5, "-5"),
        (None, ""),
        (True, "true"),
        ({"a": "="}, '{"a":"="}'),
    ],
)
def test_what_is_no_formula_stays(value: object, written: str) -> None:
    assert cell(value) == written


def test_what_strangers_wrote_is_in_no_cell_as_it_is() -> None:
    async def main(records: Sequence[RejectRecord]) -> None:
        async def read(_: str) -> Page[RejectRecord]:
            return Page(records, None)

        text = (await whole(rejects_listing(read), ListFormat.CSV)).decode()
        table = list(csv.DictReader(io.StringIO(text, newline="")))
        for row, record in zip(table, records, strict=True):
            assert row["email"] == f"'{record.address}"
            assert row["reason"] == f"'{record.reason}"

    asyncio.run(
        main(
            [
                RejectRecord(number, text, "invalid", text)
                for number, text in enumerate(FORMULAS, 1)
            ]
        )
    )
