"""CSV: a header line with ``email``, then a record for each recipient, in UTF-8.

Columns named ``engaged_at``, ``timezone``, ``variant`` and ``metadata.x`` are what they
say; every other column is a field. An empty cell is an empty field, and for the named
ones: not given. Lines end in LF or CRLF; a quoted cell may hold line ends, delimiters
and doubled quotes.

The grammar is RFC 4180 §2 to the letter, where Python's reader is lenient: a quote
within an unquoted cell is refused. A file with one would otherwise swallow the lines up
to the next quote without a word.
"""

import csv
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from mailwright.queue.campaign.rows import (
    LINE_MAX_OCTETS,
    Row,
    RowsError,
    encode_fields,
    encode_metadata,
    judge,
)

_BOM: Final = b"\xef\xbb\xbf"
_METADATA: Final = "metadata."
_NAMED: Final = frozenset({"email", "engaged_at", "timezone", "variant"})
#: The quoted form of a cell; every octet can be matched in one way only.
_QUOTED: Final = r'"[^"]*(?:""[^"]*)*"'

_Pick = Callable[[Sequence[str]], Sequence[str]]


class CsvRows:
    """Reads one file of CSV; see :class:`~mailwright.queue.campaign.rows.RowParser`."""

    def __init__(self, delimiter: str = ",") -> None:
        """Take the delimiter: one character of ASCII, no quote and no line end.

        Raises:
            ValueError: it is another.
        """
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
            raise ValueError("a delimiter is one character of ASCII, no quote")
        self._delimiter = delimiter
        cell = rf'(?:{_QUOTED}|[^"\r\n{re.escape(delimiter)}]*)'
        self._cell = re.compile(cell)
        self._record = re.compile(rf"{cell}(?:{re.escape(delimiter)}{cell})*")
        self._feeder = _Feeder()
        self._reader = csv.reader(self._feeder, delimiter=delimiter, strict=True)
        self._rest = bytearray()
        #: The lines so far of a record with an open quote.
        self._open: list[bytes] = []
        self._open_octets = 0
        self._line = 1
        self._columns: _Columns | None = None

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        return self._line

    def feed(self, octets: bytes, rows: list[Row]) -> None:
        """Append to ``rows`` what ``octets`` complete.

        Raises:
            RowsError: quotes, columns, UTF-8 or lengths are wrong.
        """
        end = octets.rfind(b"\n") + 1
        if end:
            lines = bytes(self._rest + octets[:end]).split(b"\n")
            lines.pop()  # what follows the last line end: nothing
            self._rest.clear()
            for line in lines:
                self._take_line(line, rows)
                self._line += 1
        self._rest += octets[end:]
        if len(self._rest) > LINE_MAX_OCTETS:
            self._refuse_length([*self._open, bytes(self._rest)])

    def finish(self, rows: list[Row]) -> None:
        """Append the last record, which may lack its line end.

        Raises:
            RowsError: as :meth:`feed`, or there was no header line.
        """
        line = bytes(self._rest)
        self._rest.clear()
        self._take_line(line, rows)
        if self._open:
            line_number = self._line - len(self._open) + 1
            text = self._decoded(b"\n".join(self._open), line_number)
            raise self._located(text, line_number)
        if self._columns is None:
            raise RowsError(1, 1, "there is no header line")

    def _take_line(self, line: bytes, rows: list[Row]) -> None:
        closes = not line.count(b'"') & 1
        if not self._open and closes:
            self._take(line, self._line, rows)
            return
        self._open.append(line)
        self._open_octets += len(line) + 1
        if self._open_octets > LINE_MAX_OCTETS:
            self._refuse_length(self._open)
        if not closes and len(self._open) > 1:
            record, first = b"\n".join(self._open), self._line - len(self._open) + 1
            self._open, self._open_octets = [], 0
            self._take(record, first, rows)

    def _take(self, record: bytes, line: int, rows: list[Row]) -> None:
        if len(record) > LINE_MAX_OCTETS:
            self._refuse_length([record])
        record = record.removesuffix(b"\r")
        if line == 1:
            record = record.removeprefix(_BOM)
        if not record:
            return
        text = self._decoded(record, line)
        if '"' in text:
            if self._record.fullmatch(text) is None:
                raise self._located(text, line)
            self._feeder.record = text
            cells = next(self._reader)
        elif "\r" in text:
            raise self._located(text, line)
        else:
            cells = text.split(self._delimiter)
        if self._columns is None:
            self._columns = _Columns(cells, line)
        else:
            rows.append(self._columns.row(cells, line))

    def _decoded(self, record: bytes, line: int) -> str:
        try:
            return record.decode()
        except UnicodeDecodeError as error:
            good = record[: error.start].decode()
            raise RowsError(*_position(good, len(good), line), "not UTF-8") from None

    def _refuse_length(self, lines: Sequence[bytes]) -> None:
        """Raise what makes the record too long: a lost quote, if there is one."""
        first = self._line - len(lines) + 1
        text = b"\n".join(lines)[:LINE_MAX_OCTETS].decode(errors="replace")
        if '"' in text:
            raise self._located(text, first)
        reason = f"a record is over {LINE_MAX_OCTETS} octets"
        raise RowsError(first, LINE_MAX_OCTETS + 1, reason)

    def _located(self, text: str, line: int) -> RowsError:
        """Return where and how ``text`` leaves the grammar."""
        at = 0
        while True:
            found = self._cell.match(text, at)
            end = found.end() if found else at
            if end == len(text):
                reason = f"a record is over {LINE_MAX_OCTETS} octets"
                return RowsError(*_position(text, end, line), reason)
            if text[end] != self._delimiter:
                break
            at = end + 1
        if text[end] == '"':
            reason = (
                "quotes are not closed"
                if end == at
                else "a quote inside a cell that does not begin with one"
            )
        elif text[end] in "\r\n":
            reason = "a line must end in LF or CRLF"
        else:
            reason = "text after a closing quote"
        return RowsError(*_position(text, end, line), reason)


class _Feeder:
    """Hands one record after the other to Python's reader."""

    def __init__(self) -> None:
        self.record = ""

    def __iter__(self) -> "_Feeder":
        return self

    def __next__(self) -> str:
        return self.record


class _Columns:
    """What the header line says of the columns."""

    def __init__(self, names: Sequence[str], line: int) -> None:
        """Read the header.

        Raises:
            RowsError: a name is missing or there twice.
        """
        if "email" not in names:
            raise RowsError(line, 1, "the header line has no column `email`")
        if len(set(names)) < len(names):
            raise RowsError(line, 1, "the header line names a column twice")
        if "" in names or _METADATA in names:
            raise RowsError(line, 1, "the header line has a column without a name")
        self._count = len(names)
        self._at = {name: names.index(name) for name in _NAMED & set(names)}
        metadata = [at for at, name in enumerate(names) if name.startswith(_METADATA)]
        fields = sorted(set(range(len(names))) - set(metadata) - {*self._at.values()})
        self._metadata = _picking(metadata)
        self._metadata_names = [names[at].removeprefix(_METADATA) for at in metadata]
        self._fields = _picking(fields)
        self._field_names = [names[at] for at in fields]
        self._email = self._at.pop("email")

    def row(self, cells: Sequence[str], line: int) -> Row:
        """Return the row of a record.

        Raises:
            RowsError: it has more or fewer cells than the header.
        """
        if len(cells) != self._count:
            raise RowsError(
                line, 1, f"{len(cells)} columns where the header has {self._count}"
            )
        fields = dict(zip(self._field_names, self._fields(cells), strict=True))
        metadata = dict(zip(self._metadata_names, self._metadata(cells), strict=True))
        named = {name: cells[at] for name, at in self._at.items()} if self._at else {}
        return judge(
            cells[self._email],
            encode_fields(fields),
            encode_metadata(metadata),
            **named,
        )


def _picking(indexes: Sequence[int]) -> _Pick:
    if len(indexes) > 1:
        picked: _Pick = itemgetter(*indexes)
        return picked
    return lambda cells: [cells[at] for at in indexes]


def _position(text: str, at: int, line: int) -> tuple[int, int]:
    """Return line and column of ``text[at]``, where ``text`` begins ``line``."""
    return line + text.count("\n", 0, at), at - text.rfind("\n", 0, at)
