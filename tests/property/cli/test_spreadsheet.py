"""Whatever a spreadsheet holds and however it is written, the same cells come out."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.cli.columns import find_columns, recipients
from mailwright.cli.spreadsheet import (
    DELIMITERS,
    Dialect,
    SpreadsheetError,
    find_dialect,
    records,
)

#: Cells of any characters but those that cannot be in a text file.
CELLS = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\r\n\t\"';,|"),
    max_size=12,
)
ENDS = st.sampled_from(["\r\n", "\n"])
WORDS = {
    "windows-1251": ["Москва", "Орёл", "ёж", "Санкт-Петербург", "объём", "Ann", "42"],
    "windows-1252": ["Zürich", "Málaga", "Besançon", "Åre", "Köln", "Ann", "5 €"],
    "utf-8": ["Москва", "Zürich", "東京", "🌸", "Ann"],
    "utf-16": ["Москва", "Zürich", "東京", "🌸", "Ann"],
    "utf-8-sig": ["Москва", "Zürich", "東京", "🌸", "Ann"],
}


def written(
    rows: list[list[str]], dialect: Dialect, end: str, *, quote_all: bool
) -> bytes:
    special = f'{dialect.delimiter}"\r\n'

    def cell(text: str) -> str:
        if quote_all or not text or any(char in special for char in text):
            return '"' + text.replace('"', '""') + '"'
        return text

    lines = (dialect.delimiter.join(map(cell, row)) + end for row in rows)
    return "".join(lines).encode(dialect.encoding)


@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=6),
    delimiter=st.sampled_from(list(DELIMITERS)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    end=ENDS,
    quote_all=st.booleans(),
)
def test_every_cell_comes_back(
    rows: list[list[str]], delimiter: str, encoding: str, end: str, quote_all: bool
) -> None:
    dialect = Dialect(encoding, "", delimiter)
    octets = written(rows, dialect, end, quote_all=quote_all)
    found = list(records(io.BytesIO(octets), dialect))
    assert [list(each.cells) for each in found] == rows
    text = octets.decode(encoding)
    starts = [each.line for each in found]
    assert starts == sorted(set(starts))
    assert starts[0] == 1
    assert starts[-1] <= len(text.splitlines())


@given(st.data())
def test_encoding_and_delimiter_are_found(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(list(WORDS)))
    delimiter = data.draw(st.sampled_from(list(DELIMITERS)))
    words = st.sampled_from(WORDS[encoding])
    rows = data.draw(st.lists(st.tuples(words, words), min_size=1, max_size=30))
    telling = WORDS[encoding][0]
    table = [["email", "name", "town"]]
    table += [[f"u{at}@example.net", *row] for at, row in enumerate(rows)]
    table.append(["last@example.net", telling, telling])
    octets = written(
        table, Dialect(encoding, "", delimiter), data.draw(ENDS), quote_all=False
    )
    file = io.BytesIO(octets)
    dialect = find_dialect(file)
    assert (dialect.encoding, dialect.delimiter) == (encoding, delimiter)
    found = list(records(file, dialect))
    columns = find_columns(found, {})
    sent = list(recipients(found, columns))
    assert [each.email for each in sent] == [row[0] for row in table[1:]]
    assert [each.members["fields"] for each in sent] == [
        {"name": name, "town": town} for _, name, town in table[1:]
    ]


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read_but_never_a_crash(octets: bytes) -> None:
    file = io.BytesIO(octets)
    with suppress(SpreadsheetError):
        dialect = find_dialect(file)
        found = list(records(file, dialect))
        list(recipients(found, find_columns(found, {})))


def test_a_reader_that_knows_one_delimiter_would_be_found_out() -> None:
    octets = b"email;town\na@example.net;Rome\n"
    (header, _) = records(io.BytesIO(octets), Dialect("utf-8", "", ","))
    with pytest.raises(AssertionError):
        assert list(header.cells) == ["email", "town"]
