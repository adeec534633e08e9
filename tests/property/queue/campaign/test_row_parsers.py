"""Rows are the same for every cut of the octets; the fast path for addresses is exact.

* feed(a); feed(b) gives what feed(a + b) gives: rows, and the fault with its place.
* What Python's writer of CSV writes is read back, cell by cell.
* canonical_of(text) is parse_address(text), or refuses with the same reason.
"""

import csv
import io
import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mailwright.address import AddressError, parse_address
from mailwright.queue.campaign.csv_rows import CsvRows
from mailwright.queue.campaign.ndjson_rows import NdjsonRows
from mailwright.queue.campaign.rows import BadRowError, Row, RowsError, canonical_of
from mailwright.queue.campaign.uploads import RowFormat

NDJSON_PARTS = st.sampled_from(
    [
        b'{"email":"a@b.example"}',
        b'{"email":"a@b.example","fields":{"n":"\xc3\xa4"}}',
        b'{"email":5}',
        b"[1]",
        b"\n",
        b"\n",
        b"\r\n",
        b" ",
        b"{",
        b'"',
        b"\xef\xbb\xbf",
        b"\xff",
        b"x" * 40_000,
    ]
)
CSV_PARTS = st.sampled_from(
    [
        b"email,a\n",
        b"x@y.example,1",
        b"\n",
        b"\n",
        b"\r\n",
        b'"',
        b'""',
        b",",
        b'"a\nb"',
        b"\r",
        b"\xc3\xa4",
        b"\xff",
        b"x" * 40_000,
        b"\xef\xbb\xbf",
    ]
)
FILES = st.one_of(
    st.tuples(st.just(RowFormat()), st.lists(NDJSON_PARTS, max_size=12)),
    st.tuples(
        st.just(RowFormat("csv")),
        st.lists(CSV_PARTS, max_size=12).map(lambda parts: [b"email,a\n", *parts]),
    ),
)
# Near the edges of what an address may be, and far beyond.
ADDRESSES = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[A-Za-z0-9_+.\-]{1,66}@[A-Za-z0-9.\-]{1,70}", fullmatch=True),
    st.from_regex(r"[a-z.+'\"ä ]{1,9}@[A-Za-zäß0-9_.\-]{1,20}", fullmatch=True),
    st.builds(
        "{}@{}.example".format,
        st.text("aB1+_-.", min_size=60, max_size=68),
        st.text("aB1-.", min_size=150, max_size=200),
    ),
    st.emails(),
)


def outcome(
    fmt: RowFormat, pieces: list[bytes]
) -> tuple[list[Row], tuple[int, int, str] | None]:
    parser, rows = fmt.parser(), list[Row]()
    try:
        for piece in pieces:
            parser.feed(piece, rows)
        parser.finish(rows)
    except RowsError as error:
        return rows, (error.line, error.column, error.reason)
    return rows, None


@given(FILES, st.data())
def test_a_cut_changes_nothing(
    file: tuple[RowFormat, list[bytes]], data: st.DataObject
) -> None:
    fmt, parts = file
    octets = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=6).map(sorted))
    edges = [0, *cuts, len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(edges)]
    assert outcome(fmt, pieces) == outcome(fmt, [octets])


@given(FILES)
def test_octet_by_octet_gives_the_same(file: tuple[RowFormat, list[bytes]]) -> None:
    fmt, parts = file
    octets = b"".join(part[:50] for part in parts)
    assert outcome(fmt, [bytes([octet]) for octet in octets]) == outcome(fmt, [octets])


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3
        ),
        max_size=5,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_python_writes_as_csv_is_read_back(
    records: list[list[str]], delimiter: str, quoting: int
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["email", "a", "b", "c"])
    for record in records:
        writer.writerow(["x@y.example", *record])
    rows: list[Row] = []
    parser = CsvRows(delimiter)
    parser.feed(file.getvalue().encode(), rows)
    parser.finish(rows)
    read = [list(json.loads(row.fields).values()) for row in rows]
    assert read == records


@given(st.dictionaries(st.text(), st.text()))
def test_fields_are_kept_as_they_are(fields: dict[str, str]) -> None:
    try:
        line = json.dumps({"email": "a@b.example", "fields": fields}).encode()
        "".join([*fields, *fields.values()]).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    rows: list[Row] = []
    parser = NdjsonRows()
    parser.feed(line, rows)
    parser.finish(rows)
    assert json.loads(rows[0].fields) == fields


@given(ADDRESSES)
def test_the_fast_path_is_the_parser_of_addresses(text: str) -> None:
    expected: object
    found: object
    try:
        address = parse_address(text)
        expected = (address.canonical, address.domain)
    except AddressError as error:
        expected = error.reason
    try:
        found = canonical_of(text)
    except BadRowError as error:
        found = str(error)
    if not text:
        assert found == "email is missing"
        return
    assert found == expected
