"""What uploaded rows may say; which faults are a row's, and which the file's."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mailwright.queue.campaign.csv_rows import CsvRows
from mailwright.queue.campaign.ndjson_rows import NdjsonRows
from mailwright.queue.campaign.rows import (
    LINE_MAX_OCTETS,
    Row,
    RowParser,
    RowsError,
    band_of,
)

SECRET = "s3cret"


def read(parser: RowParser, octets: bytes) -> list[Row]:
    rows: list[Row] = []
    parser.feed(octets, rows)
    parser.finish(rows)
    return rows


def ndjson(*objects: object) -> list[Row]:
    return read(NdjsonRows(), b"".join(json.dumps(o).encode() + b"\n" for o in objects))


def csv(text: str, delimiter: str = ",") -> list[Row]:
    return read(CsvRows(delimiter), text.encode())


def fault(parser: RowParser, octets: bytes) -> tuple[int, int, str]:
    with pytest.raises(RowsError) as caught:
        read(parser, octets)
    assert SECRET not in str(caught.value)
    return caught.value.line, caught.value.column, caught.value.reason


def test_an_object_has_everything_that_a_row_may_say() -> None:
    [row] = ndjson(
        {
            "email": "Anna@B\u00fccher.example",
            "fields": {"name": "Anna", "n": 1, "vip": True, "list": [None, {"x": 1.5}]},
            "metadata": {"crm": "17"},
            "engaged_at": "2026-01-02",
            "timezone": "Europe/Berlin",
            "variant": "b",
        }
    )
    assert row.address == "anna@xn--bcher-kva.example"
    assert row.domain == "xn--bcher-kva.example"
    assert json.loads(row.fields) == {
        "name": "Anna",
        "n": 1,
        "vip": True,
        "list": [None, {"x": 1.5}],
    }
    assert json.loads(row.metadata) == {"crm": "17"}
    assert row.engaged_at == datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    assert (row.timezone, row.variant, row.reason) == ("Europe/Berlin", "b", "")


def test_a_csv_line_says_the_same_as_an_object() -> None:
    [row] = csv(
        "metadata.crm,email,name,engaged_at,timezone,variant,note\r\n"
        '17,Anna@example.com,"An ""A"", na",2026-01-02T03:04:05+02:00,Asia/Tokyo,b,"x\r\ny"\r\n'
    )
    [same] = ndjson(
        {
            "email": "anna@example.com",
            "fields": {"name": 'An "A", na', "note": "x\r\ny"},
            "metadata": {"crm": "17"},
            "engaged_at": "2026-01-02T01:04:05Z",
            "timezone": "Asia/Tokyo",
            "variant": "b",
        }
    )
    assert row == same


def test_a_mark_blank_lines_and_a_missing_last_line_end_are_tolerated() -> None:
    mark = b"\xef\xbb\xbf"
    lines = b'\n{"email":"a@b.example"}\r\n  \n\r\n{"email":"c@d.example"}'
    rows = read(NdjsonRows(), mark + b'{"email":"m@b.example"}' + lines)
    assert [row.address for row in rows] == [
        "m@b.example",
        "a@b.example",
        "c@d.example",
    ]
    rows = read(CsvRows(), mark + b"email\n\na@b.example\r\n\r\nc@d.example")
    assert [row.address for row in rows] == ["a@b.example", "c@d.example"]


def test_an_empty_cell_is_an_empty_field_and_nothing_else() -> None:
    [row] = csv("email,name,engaged_at,timezone,variant\na@b.example,,,,\n")
    assert (row.fields, row.engaged_at, row.timezone) == (b'{"name":""}', None, "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "email is missing"),
        ({"email": ""}, "email is missing"),
        ({"email": None}, "email is missing"),
        ({"email": 5}, "email must be text"),
        ({"email": "a@b"}, "domain needs at least two labels"),
        ({"email": " a@b.example"}, "local part has characters that need quotes"),
        ({"email": "a\0@b.example"}, "local part has characters that need quotes"),
        ({"email": '"a\n"@b.example'}, "local part has a control character"),
        ({"email": "a@b.example\r\nBcc: x@y.example"}, None),
        ({"email": "a" * 65 + "@b.example"}, "local part over 64 octets"),
        ({"email": "a@b.example", "name": "x"}, None),
        ({"email": "a@b.example", "fields": []}, "fields must be an object"),
        ({"email": "a@b.example", "fields": {"x": "y" * 16384}}, None),
        ({"email": "a@b.example", "metadata": {"x": 1}}, None),
        ({"email": "a@b.example", "metadata": {"x": "y" * 4096}}, None),
        ({"email": "a@b.example", "engaged_at": "yesterday"}, None),
        ({"email": "a@b.example", "engaged_at": "2026-02-30"}, None),
        ({"email": "a@b.example", "engaged_at": "20260102"}, None),
        ({"email": "a@b.example", "engaged_at": 0}, "engaged_at must be text"),
        ({"email": "a@b.example", "variant": []}, "variant must be text"),
        ({"email": "a@b.example", "timezone": "Berlin"}, None),
        ({"email": "a@b.example", "timezone": "../../etc/passwd"}, None),
        ({"email": "a@b.example", "variant": "a\nb"}, None),
        ([1], "a row must be an object"),
        ("x", "a row must be an object"),
    ],
)
def test_a_bad_row_says_why_and_spoils_no_other(
    row: object, reason: str | None
) -> None:
    good = {"email": "good@b.example"}
    first, bad, last = ndjson(good, row, good)
    assert not first.reason
    assert first == last
    assert bad.reason
    assert reason in {None, bad.reason}
    assert bad.domain == ""


def test_what_was_given_is_cut_for_the_reject() -> None:
    [row] = ndjson({"email": "x" * 9000})
    assert row.address == "x" * 320


def test_deep_fields_are_a_bad_row_at_every_depth() -> None:
    for depth in (33, 400, 20_000):
        line = b'{"email":"a@b.example","fields":{"x":' + b"[" * depth + b"]" * depth
        [row] = read(NdjsonRows(), line + b"}}\n")
        assert row.reason == "fields are nested too deeply"
    line = b'{"email":"a@b.example","fields":{"x":' + b"[" * 31 + b"]" * 31 + b"}}\n"
    [row] = read(NdjsonRows(), line)
    assert row.reason == ""


def test_a_number_out_of_range_is_a_bad_row() -> None:
    [row] = read(NdjsonRows(), b'{"email":"a@b.example","fields":{"x":1e999}}')
    assert row.reason == "a number is out of range"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (b'{"email":"s3cret@b.example"', 28),
        (b'{"email":"s3cret@b.example"}}', 29),
        (b'{"email":"s3cret@b.example"} {"email":"x@y.example"}', 30),
        (b'{"email":"\xc3\xa4\xff s3cret@b.example"}', 12),
        (b"s3cret", 1),
        (b'{"s3cret":1,', 13),
        (b'{"email":"s3cret\x00@b.example"}', 17),
    ],
)
def test_a_broken_line_is_a_broken_file_at_line_and_column(
    line: bytes, column: int
) -> None:
    rows: list[Row] = []
    parser = NdjsonRows()
    octets = b'{"email":"a@b.example"}\n\n' + line + b"\n"
    with pytest.raises(RowsError) as caught:
        parser.feed(octets, rows)
    assert [row.address for row in rows] == ["a@b.example"], "rows before it stay"
    assert caught.value.line == 3
    assert caught.value.column == column
    assert SECRET not in str(caught.value)


def test_a_line_over_the_limit_is_refused_before_its_end() -> None:
    parser = NdjsonRows()
    with pytest.raises(RowsError) as caught:
        parser.feed(b"x" * (LINE_MAX_OCTETS + 1), [])
    assert caught.value.column == LINE_MAX_OCTETS + 1
    fit = b'{"email":"a@b.example"}'.ljust(LINE_MAX_OCTETS)
    assert len(read(NdjsonRows(), fit + b"\n")) == 1


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "there is no header line"),
        ("name\nx\n", 1, 1, "the header line has no column `email`"),
        ("email,a,a\n", 1, 1, "the header line names a column twice"),
        ("email,\n", 1, 1, "the header line has a column without a name"),
        ("email,a\nx\n", 2, 1, "1 columns where the header has 2"),
        ("email,a\nx,s3cret,s3cret\n", 2, 1, "3 columns where the header has 2"),
        ('email,a\nx,"s3cret\n', 2, 3, "quotes are not closed"),
        ('email,a\nx,"a\nb"\ny,"s3cret\n\nz,', 4, 3, "quotes are not closed"),
        ('email,a\nx,5" s3cret\ny,"b"\n', 2, 4, "a quote inside a cell"),
        ('email,a\nx,"a"b\n', 2, 6, "text after a closing quote"),
        ("email,a\nx,a\ry,b\n", 2, 4, "a line must end in LF or CRLF"),
    ],
)
def test_a_file_that_is_no_csv_is_refused_at_line_and_column(
    text: str, line: int, column: int, reason: str
) -> None:
    found = fault(CsvRows(), text.encode())
    assert found[:2] == (line, column)
    assert found[2].startswith(reason)


def test_csv_that_is_no_utf8_or_too_long_is_refused() -> None:
    octets = "email,a\nx,é".encode() + b"\xff\n"
    assert fault(CsvRows(), octets) == (2, 4, "not UTF-8")
    long = b'email,a\nx,"' + b"s3cret\n" * 20_000 + b'"\n'
    assert fault(CsvRows(), long) == (2, 3, "quotes are not closed")
    assert fault(CsvRows(), b"email\n" + b"x" * 70_000)[:2] == (2, LINE_MAX_OCTETS + 1)


def test_a_delimiter_is_one_plain_character() -> None:
    [row] = csv('email;a,b\nx@y.example;"1;2"\n', ";")
    assert row.fields == b'{"a,b":"1;2"}'
    for bad in ("", ",,", '"', "\n", "\r", "§"):
        with pytest.raises(ValueError, match="delimiter"):
            CsvRows(bad)


def test_bands_follow_the_days_since_the_recipient_reacted() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def band(**ago: float) -> int:
        return band_of(int((now - timedelta(**ago)).timestamp()), now)

    assert band_of(None, now) == 4
    limits = {7: 0, 30: 1, 90: 2, 180: 3, 365: 5, 730: 6}
    for days, at_most in limits.items():
        assert band(days=days) == at_most
        assert band(days=days, seconds=1) > at_most
    assert band(days=5000) == 7
    assert band(days=-5) == 0
