"""Files as spreadsheets write them: what they are, and where they are broken."""

import codecs
import io

import pytest

from mailwright.cli.columns import find_columns, parse_asked, recipients
from mailwright.cli.spreadsheet import (
    HEAD_OCTETS,
    Record,
    SpreadsheetError,
    find_delimiter,
    find_dialect,
    find_encoding,
    records,
)

GERMAN = (
    "E-Mail;Vorname;Stadt\r\njörg@example.de;Jörg;Köln\r\nå@example.se;Åke;Örebro\r\n"
)
RUSSIAN = (
    "Почта;Имя;Город\r\nanna@example.ru;Анна;Москва\r\nivan@example.ru;Иван;Орёл\r\n"
)
ENGLISH = "email,first name\nann@example.net,Ann\n"


def read(octets: bytes, **known: str) -> list[list[str]]:
    file = io.BytesIO(octets)
    return [list(row.cells) for row in records(file, find_dialect(file, **known))]


@pytest.mark.parametrize(
    ("octets", "encoding"),
    [
        (ENGLISH.encode(), "utf-8"),
        (RUSSIAN.encode(), "utf-8"),
        (codecs.BOM_UTF8 + GERMAN.encode(), "utf-8-sig"),
        (RUSSIAN.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), "utf-16"),
        (GERMAN.encode("utf-16-le"), "utf-16-le"),
        (GERMAN.encode("utf-16-be"), "utf-16-be"),
        (RUSSIAN.encode("utf-32"), "utf-32"),
        (RUSSIAN.encode("windows-1251"), "windows-1251"),
        (GERMAN.encode("windows-1252"), "windows-1252"),
        ("email;price\na@b.example;5 €\n".encode("windows-1252"), "windows-1252"),
        ("email;имя\na@b.example;Ѓорѓи Џ\n".encode("windows-1251"), "windows-1251"),
    ],
    ids=range(12),
)
def test_an_encoding_is_found(octets: bytes, encoding: str) -> None:
    dialect = find_dialect(io.BytesIO(octets))
    assert dialect.encoding == encoding
    for text in (ENGLISH, RUSSIAN, GERMAN):
        if octets.decode(encoding) == text:
            assert (
                read(octets)[1][0] == text.splitlines()[1].split(";")[0].split(",")[0]
            )


def test_the_whole_file_decides_not_its_head() -> None:
    ascii_head = b"email;name\n" + b"a@b.example;Ann\n" * 10_000
    assert len(ascii_head) > 2 * HEAD_OCTETS
    late = ascii_head + "x@b.example;Пётр Ильич\n".encode("windows-1251")
    assert find_dialect(io.BytesIO(late)).encoding == "windows-1251"
    assert find_dialect(io.BytesIO(ascii_head)).encoding == "utf-8"


def test_utf_8_may_be_cut_anywhere_between_pieces() -> None:
    octets = RUSSIAN.encode()
    for at in range(len(octets)):
        assert find_encoding([octets[:at], octets[at:]])[0] == "utf-8"
    assert find_encoding([octets[:-3]])[0] != "utf-8", "a letter is cut off at the end"


def test_an_encoding_that_is_asked_for_is_not_guessed() -> None:
    octets = RUSSIAN.encode("koi8-r")
    assert read(octets, encoding="koi8-r")[1] == ["anna@example.ru", "Анна", "Москва"]
    with pytest.raises(SpreadsheetError, match="there is no text encoding 'klingon'"):
        read(octets, encoding="klingon")
    with pytest.raises(SpreadsheetError, match="there is no text encoding 'base64'"):
        read(octets, encoding="base64")


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1,5;2,5;3,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('a;"b,c"\n"x;y,z";2\n', ";"),
        ("email\nann@example.net\n", ","),
        ('a,b\n"two\nlines",2\n', ","),
        ("", ","),
    ],
)
def test_a_delimiter_is_found(text: str, delimiter: str) -> None:
    assert find_delimiter(text) == delimiter


def test_a_first_line_that_names_the_delimiter_is_obeyed() -> None:
    octets = b"sep=|\r\nemail|a;b\r\nann@example.net|1;2\r\n"
    file = io.BytesIO(octets)
    dialect = find_dialect(file)
    found = list(records(file, dialect))
    assert (dialect.delimiter, found[0]) == ("|", Record(2, ["email", "a;b"]))
    assert found[1].line == 3
    assert (
        dialect.to_text() == "utf-8 (all of it is valid UTF-8), cells separated by bar"
    )


@pytest.mark.parametrize(
    ("octets", "at", "reason"),
    [
        (b"", (None, None), "empty"),
        (b" \r\n", (None, None), "empty"),
        (b"PK\x03\x04rest", (None, None), "save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", (None, None), "save it as CSV"),
        (b"GIF89a\0\0\0\xff\xff", (None, None), "no text"),
        (b'a,b\n1,"two\n3,4\n', (2, 3), "never closed"),
        (b'a,b\n1,"x"y\n', (2, 6), "after a closing quote"),
        (b'a,b\n"one\ntwo",2\n3,"x" "\n', (4, 6), "after a closing quote"),
    ],
    ids=range(8),
)
def test_a_broken_file_is_refused_with_its_place(
    octets: bytes, at: tuple[int | None, int | None], reason: str
) -> None:
    with pytest.raises(SpreadsheetError, match=reason) as caught:
        read(octets)
    assert (caught.value.line, caught.value.column) == at


def test_what_is_not_in_the_encoding_asked_for_has_a_place() -> None:
    octets = b"email,name\nann@example.net,Ann\nbob@example.net,B\xf6b\n"
    with pytest.raises(SpreadsheetError, match="is not utf-8") as caught:
        read(octets, encoding="utf-8")
    assert (caught.value.line, caught.value.column) == (3, 18)
    far = b"email,name\n" + b"ann@example.net,Ann\n" * 100_000 + b"\xf6"
    with pytest.raises(SpreadsheetError) as caught:
        read(far, encoding="utf-8")
    assert (caught.value.line, caught.value.column) == (100_002, 1)
    late_nul = b"a,b\n" + b"1,2\n" * 50_000 + b"1,\x00\n"
    with pytest.raises(SpreadsheetError, match="NUL") as caught:
        read(late_nul)
    assert (caught.value.line, caught.value.column) == (50_002, 3)


# --- columns -------------------------------------------------------------------------


def table(*rows: str) -> list[Record]:
    return [Record(number, row.split(";")) for number, row in enumerate(rows, 1)]


def sent(rows: list[Record], *asked: str) -> list[bytes]:
    columns = find_columns(rows, parse_asked(asked))
    return [each.to_json() for each in recipients(rows, columns)]


@pytest.mark.parametrize(
    "heading",
    [
        "email", "EMAIL", "E-Mail", "E-mail Address", "E-Mail-Adresse", "Courriel",
        "Adresse électronique", "Correo electrónico", "Электронная почта", "Эл. почта",
        "Имейл", "Sähköposti", "メールアドレス", "电子邮件",
    ],
)  # fmt: skip
def test_the_column_of_addresses_is_known_by_its_name(heading: str) -> None:
    rows = table(f"Name;{heading};Town", "Ann;ann@example.net;Rome")
    assert find_columns(rows, {}).email == 1


def test_it_is_known_by_its_cells_where_the_name_says_nothing() -> None:
    rows = table("Who;Where", "Ann;ann@example.net", "Bob;", "Eve;eve@example.net")
    assert sent(rows)[
        0
    ] == b'{"email":"ann@example.net","fields":{"who":"Ann"}}'.replace(b"who", b"Who")


@pytest.mark.parametrize(
    ("header", "asked", "reason"),
    [
        ("name;town", [], "no column holds the addresses"),
        ("E-Mail;Mail", [], "several columns may hold the addresses"),
        (
            "E-Mail;name",
            ["email=Post"],
            "there is no column 'Post'; there are 'E-Mail'",
        ),
        ("email;a;a", [], "columns 'a' and 'a' are both a"),
        ("email;First name;first-name", [], "are both first_name"),
        ("email;a", ["b=a", "c=a", "b=x"], "--column b is given twice"),
        ("email;a", ["b"], "write NAME=HEADING"),
    ],
)
def test_what_is_not_clear_is_asked_for(
    header: str, asked: list[str], reason: str
) -> None:
    cells = ["x"] * len(header.split(";"))
    with pytest.raises(SpreadsheetError, match=reason):
        sent(table(header, ";".join(cells)), *asked)


def test_a_column_named_email_wins_over_the_like() -> None:
    rows = table("email;E-Mail (work)", "a@x.example;b@x.example")
    assert find_columns(rows, {}).email == 0


def test_columns_become_fields_members_and_metadata() -> None:
    rows = table(
        "E-Mail;First name;Город;timezone;Customer No.;2nd;Last open;",
        " ann@example.net ;Ann;Рим;Europe/Rome;4711;x;2026-01-02;",
        "bob@example.net;Bob;;;4712;;;",
        ";;;;;;;",
    )
    columns = find_columns(
        rows, parse_asked(['metadata.id="Customer No."', "engaged_at=Last open"])
    )
    assert columns.notes == (
        "column 'E-Mail' is email",
        "column 'First name' is first_name",
        "column 'Customer No.' is metadata.id",
        "column '2nd' is _2nd",
        "column 'Last open' is engaged_at",
        "column 8 has no name: left out",
    )
    first, second = recipients(rows, columns)
    assert first.email == "ann@example.net"
    assert first.members == {
        "timezone": "Europe/Rome",
        "engaged_at": "2026-01-02",
        "fields": {"first_name": "Ann", "Город": "Рим", "_2nd": "x"},
        "metadata": {"id": "4711"},
    }
    assert second.members == {
        "fields": {"first_name": "Bob", "Город": "", "_2nd": ""},
        "metadata": {"id": "4712"},
    }


def test_short_rows_are_filled_up_and_long_ones_are_refused() -> None:
    assert sent(table("email;a;b", "x@y.example;1")) == [
        b'{"email":"x@y.example","fields":{"a":"1","b":""}}'
    ]
    assert len(sent(table("email;a", "x@y.example;1;;"))) == 1, "only empty cells"
    with pytest.raises(
        SpreadsheetError, match=r"has 3 cells, but .* 2 columns"
    ) as caught:
        sent(table("email;a", "x@y.example;1", "x@y.example;1;2"))
    assert caught.value.line == 3


def test_a_list_without_names_is_a_list_of_addresses() -> None:
    assert sent(table("a@x.example", "b@x.example")) == [
        b'{"email":"a@x.example"}',
        b'{"email":"b@x.example"}',
    ]
    with pytest.raises(SpreadsheetError, match="several columns and no names"):
        sent(table("a@x.example;b@x.example"))
