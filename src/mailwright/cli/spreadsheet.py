"""★ CSV straight from a spreadsheet: encoding, delimiter, columns, and its rows. Pure.

Spreadsheets save "CSV" in the encoding and with the delimiter of the country that they
were installed for. What a file is gets decided here by fixed rules, in this order, and
every decision can be shown and overruled:

* Encoding: a byte order mark; NULs where UTF-16 has them; UTF-8 if all of it is; else
  Windows-1251 where the letters above 127 stand side by side, as in Cyrillic words, and
  Windows-1252 where they stand alone, as in western ones.
* Delimiter: a first line ``sep=;``; else the one of ``, ; tab |`` that cuts most of the
  first lines into equally many cells.
* Columns: by their names in the first line (:mod:`mailwright.cli.columns`).

RFC 4180 describes the format; a quoted cell may hold line ends and doubled quotes. What
is not so is refused with line and column, both from 1.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, TextIO

from typing_extensions import override

from mailwright.errors import MailwrightError

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Looked at for delimiter and columns.
HEAD_OCTETS: Final = 65_536
_PIECE_OCTETS: Final = 1 << 20
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16: its mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: What a spreadsheet keeps its own files in: ZIP (XLSX, ODS), OLE (XLS).
_OWN_FORMATS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
#: Letters of Windows-1251, and of Windows-1252 but for three: À to ÿ; Ё, ё.
_RUN: Final = re.compile(rb"[\xc0-\xff\xa8\xb8]+")
#: Not assigned in Windows-1252, letters in Windows-1251.
_ONLY_1251: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SEP_LINE: Final = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


class SpreadsheetError(MailwrightError):
    """A file that cannot be read as CSV; the text says what to do.

    Attributes:
        line: from 1, or ``None`` when it is about the whole file.
        column: in characters from 1, or ``None``.
    """

    def __init__(
        self, reason: str, line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column

    @override
    def __str__(self) -> str:
        if self.line is None:
            return self.reason
        at = "" if self.column is None else f", column {self.column}"
        return f"line {self.line}{at}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: as Python names it.
        why: how the encoding was found, for people.
        delimiter: one character.
        first_line: on which the header stands: 2 after a ``sep=`` line.
    """

    encoding: str
    why: str
    delimiter: str
    first_line: int = 1

    def to_text(self) -> str:
        """Say what it is, for people."""
        name = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        return f"{self.encoding} ({self.why}), cells separated by {name}"


def find_dialect(
    file: BinaryIO, *, encoding: str | None = None, delimiter: str | None = None
) -> Dialect:
    """Return how ``file`` is written; what is given is not looked for.

    Reads the file to its end once, from its beginning.

    Raises:
        SpreadsheetError: it is empty, no text, or not in ``encoding``.
    """
    file.seek(0)
    head = file.read(HEAD_OCTETS)
    if not head.strip():
        raise SpreadsheetError("the file is empty")
    if head.startswith(_OWN_FORMATS):
        raise SpreadsheetError(
            "this is a spreadsheet's own format; save it as CSV (UTF-8) there first"
        )
    if encoding is None:
        encoding, why = find_encoding(_pieces(file))
    else:
        encoding, why = _checked(encoding), "as asked for"
    text = _decoded_head(head, encoding)
    first_line = 1
    if found := _SEP_LINE.match(text):
        text, first_line = text[found.end() :], 2
        delimiter = delimiter or found[1]
    return Dialect(encoding, why, delimiter or find_delimiter(text), first_line)


def find_encoding(pieces: Iterable[bytes]) -> tuple[str, str]:
    """Return the encoding of what ``pieces`` are together, and why it is that one.

    Raises:
        SpreadsheetError: it is no text.
    """
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    letters = beside = only_1251 = 0
    for number, piece in enumerate(pieces):
        if number == 0 and (marked := _marked(piece[:HEAD_OCTETS])):
            return marked
        decoder = _still(decoder, piece)
        for run in _RUN.finditer(piece):
            length = run.end() - run.start()
            letters += length
            beside += length if length > 1 else 0
        only_1251 += len(_ONLY_1251.findall(piece))
    if _still(decoder, b"", final=True) is not None:
        return "utf-8", "all of it is valid UTF-8"
    if only_1251 or 2 * beside > letters:
        return "windows-1251", "not UTF-8; letters stand together as in Cyrillic words"
    return "windows-1252", "not UTF-8; letters stand alone as in western words"


def _marked(head: bytes) -> tuple[str, str] | None:
    """Return what the first octets alone tell, if they do."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name, "byte order mark"
    if by_nuls := _utf16_by_nuls(head):
        return by_nuls, "NULs in every other octet"
    if b"\0" in head:
        raise SpreadsheetError("the file is no text: it holds NUL octets")
    return None


def _still(
    decoder: codecs.IncrementalDecoder | None, piece: bytes, *, final: bool = False
) -> codecs.IncrementalDecoder | None:
    """Return ``decoder`` if it takes ``piece`` too."""
    if decoder is not None:
        try:
            decoder.decode(piece, final)
        except UnicodeDecodeError:
            return None
    return decoder


def find_delimiter(text: str) -> str:
    """Return the delimiter of the first lines of a file; a comma where there is none."""
    best, delimiter = (0, 0), ","
    for candidate in DELIMITERS:
        counted = Counter(_widths(text, candidate))
        (cells, agreeing), *_ = counted.most_common(1) or [(0, 0)]
        if cells > 1 and (agreeing, cells) > best:
            best, delimiter = (agreeing, cells), candidate
    return delimiter


def _widths(text: str, delimiter: str) -> list[int]:
    """Return how many cells each row has, up to the first one that is broken so."""
    widths = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with suppress(csv.Error):  # with a wrong delimiter, or where the head ends
        for row in filter(None, reader):
            widths.append(len(row))  # noqa: PERF401 - those before a defect count
    is_cut = not text.endswith(("\n", "\r"))
    return widths[:-1] if is_cut and len(widths) > 1 else widths


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file, with the line on which it begins."""

    line: int
    cells: Sequence[str]


def records(file: BinaryIO, dialect: Dialect) -> Iterator[Record]:
    """Yield all rows of ``file``, the header first; blank lines are left out.

    Raises:
        SpreadsheetError: a row is malformed, with its place; those before it came.
    """
    file.seek(0)
    text = io.TextIOWrapper(file, dialect.encoding, newline="")
    try:
        yield from _records(text, dialect)
    except UnicodeDecodeError as error:
        line, column = _undecodable(file, dialect.encoding)
        raise SpreadsheetError(
            f"is not {dialect.encoding}; name the right --encoding", line, column
        ) from error
    finally:
        # Whoever left off reading may have closed it.
        if not file.closed:
            text.detach()


def _records(text: TextIO, dialect: Dialect) -> Iterator[Record]:
    lines = _Lines(text)
    for _ in range(1, dialect.first_line):
        next(lines, None)
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    while True:
        lines.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _defect(lines, dialect.delimiter, str(error)) from error
        if cells is None:
            return
        if cells:
            yield Record(lines.first, cells)


class _Lines:
    """Lines of a text, and those of the record that is being read."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._number = 0
        self.first = 1
        self.current: list[str] = []

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.first = self._number + 1
        self.current.clear()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self._number += 1
        if "\0" in line:
            at = line.index("\0") + 1
            raise SpreadsheetError("holds a NUL character", self._number, at)
        self.current.append(line)
        return line


def _defect(lines: _Lines, delimiter: str, text: str) -> SpreadsheetError:
    """Return the error about the record that ``lines`` holds, with its place."""
    quoted_from: tuple[int, int] | None = None
    is_closed = False
    is_fresh = True
    for number, line in enumerate(lines.current, lines.first):
        for column, char in enumerate(line, 1):
            if quoted_from is not None and not is_closed:
                is_closed = char == '"'
            elif is_closed and char == '"':
                is_closed = False  # doubled: one quote of the cell
            elif char == delimiter or char in "\r\n":
                quoted_from, is_closed, is_fresh = None, False, True
                continue
            elif is_closed:
                return SpreadsheetError(
                    f"{char!r} after a closing quote; double the quotes inside a cell",
                    number,
                    column,
                )
            elif is_fresh and char == '"':
                quoted_from = number, column
            is_fresh = False
    if quoted_from is not None:
        return SpreadsheetError("a quote is opened here and never closed", *quoted_from)
    return SpreadsheetError(text, lines.first)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE_OCTETS):
        yield piece


def _utf16_by_nuls(head: bytes) -> str | None:
    """Return UTF-16's name where a third of one half of the pairs is NUL."""
    pairs = len(head) // 2
    first, second = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs > 1 and 3 * second >= pairs and not first:
        return "utf-16-le"
    if pairs > 1 and 3 * first >= pairs and not second:
        return "utf-16-be"
    return None


def _checked(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except LookupError:
        raise SpreadsheetError(
            f"there is no text encoding {encoding!r}; such as: utf-8, windows-1251"
        ) from None


def _decoded_head(head: bytes, encoding: str) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        # Said with its place when the rows are read.
        return head.decode(encoding, "replace")


def _undecodable(file: BinaryIO, encoding: str) -> tuple[int, int]:
    """Return line and column of the first octet that is not in ``encoding``."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = column = 1
    for piece in _pieces(file):
        state = decoder.getstate()
        is_bad = False
        try:
            text = decoder.decode(piece)
        except UnicodeError:
            is_bad = True
            decoder.setstate(state)
            text = "".join(_up_to_defect(decoder, piece))
        line += text.count("\n")
        _, ended, rest = text.rpartition("\n")
        column = len(rest) + (1 if ended else column)
        if is_bad:
            break
    return line, column


def _up_to_defect(decoder: codecs.IncrementalDecoder, piece: bytes) -> Iterator[str]:
    try:
        for at in range(len(piece)):
            yield decoder.decode(piece[at : at + 1])
    except UnicodeError:
        return
