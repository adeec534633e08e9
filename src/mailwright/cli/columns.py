"""★ Which column of a spreadsheet means what: by its name, as asked for, or by its cells.

A recipient is an address, fields for the content, metadata for the events, and what the
node orders and times by. The address is found by the column's name in many languages, or
by what is in it. Every other column is a field, under a name that a template can say:
``First name`` is ``first_name``.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mailwright.cli.spreadsheet import Record, SpreadsheetError

#: Members of a recipient that are no fields.
MEMBERS: Final = ("email", "engaged_at", "timezone", "variant")
METADATA: Final = "metadata."
_ADDRESS: Final = re.compile(r"\s*[^@\s]+@[^@\s]+\.[^@\s]+\s*")
#: Rows that are looked at where names say nothing.
_SAMPLE: Final = 200
#: What the column of addresses is called; compared as :func:`_plain` writes it.
_EMAIL_NAMES: Final = (
    *("email", "e-mail", "mail", "email address", "e-mail address", "mail address"),
    *("recipient", "subscriber email", "contact email", "primary email"),
    *("E-Mail-Adresse", "Emailadresse", "Mailadresse", "E-Mail Adresse"),  # German
    *("courriel", "adresse e-mail", "adresse mail", "adresse électronique"),  # French
    *("correo", "correo electrónico", "dirección de correo"),  # Spanish
    *("e-mailadres", "endereço de e-mail", "indirizzo e-mail", "posta elettronica"),
    *("e-post", "e-postadress", "e-postadresse", "sähköposti", "sähköpostiosoite"),
    *("adres e-mail", "e-mailová adresa", "e-posta", "e-posta adresi"),
    *("почта", "эл. почта", "электронная почта", "адрес электронной почты"),
    *("имейл", "емейл", "e-mail адрес", "адрес email", "мейл", "електронна пошта"),
    *("メール", "メールアドレス", "电子邮件", "电子邮箱", "邮箱", "이메일"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column that is sent.

    Attributes:
        at: its place in a row, from 0.
        heading: as the file has it.
        name: of the member or field; ``metadata.x`` goes to the events.
    """

    at: int
    heading: str
    name: str


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column of a file means.

    Attributes:
        email: the place of the addresses.
        width: cells of a whole row.
        has_header: the first row names them.
        notes: what was decided, for people.
    """

    email: int
    others: tuple[Column, ...]
    width: int
    has_header: bool
    notes: tuple[str, ...]


def find_columns(first: Sequence[Record], asked: Mapping[str, str]) -> Columns:
    """Return what the columns mean, from the first rows of a file.

    ``asked`` is the name of a member or field → the heading of its column. Rows without
    any header are taken when one column holds addresses: then that is all that is sent.

    Raises:
        SpreadsheetError: no column holds addresses, several may, a heading is asked for
            that is not there, or a name stands twice.
    """
    if not first:
        raise SpreadsheetError("the file has no rows")
    header = first[0]
    if not asked and any(map(_is_address, header.cells)):
        return _headless(first)
    headings = [each.strip() for each in header.cells]
    by_asked = {
        _place_of(heading, headings, header.line): name
        for name, heading in asked.items()
    }
    if "email" not in asked:
        by_asked[_find_email(headings, first, by_asked)] = "email"
    columns, notes = [], []
    for at, heading in enumerate(headings):
        name = by_asked.get(at) or _field_name(heading)
        if not name:
            notes.append(f"column {at + 1} has no name: left out")
            continue
        columns.append(Column(at, heading, name))
        if name != heading:
            notes.append(f"column {heading!r} is {name}")
    _check_names(columns, header.line)
    email = next(each.at for each in columns if each.name == "email")
    others = tuple(each for each in columns if each.at != email)
    return Columns(email, others, len(headings), True, tuple(notes))


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row as it is sent."""

    line: int
    email: str
    members: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Return one line of NDJSON, without its end."""
        row = {"email": self.email, **self.members}
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def recipients(rows: Iterable[Record], columns: Columns) -> Iterator[Recipient]:
    """Yield what rows say, without the header; rows of empty cells are left out.

    Raises:
        SpreadsheetError: a row has more cells than there are columns.
    """
    is_header = columns.has_header
    members = [each for each in columns.others if each.name in MEMBERS]
    metadata = [each for each in columns.others if each.name.startswith(METADATA)]
    fields = [
        each for each in columns.others if each not in members and each not in metadata
    ]
    for row in rows:
        if is_header:
            is_header = False
            continue
        cells = row.cells
        if len(cells) != columns.width:
            cells = _fitting(row, columns.width)
        if not any(cells):
            continue
        sent: dict[str, Any] = {
            each.name: cells[each.at] for each in members if cells[each.at]
        }
        if fields:
            sent["fields"] = {each.name: cells[each.at] for each in fields}
        if metadata:
            sent["metadata"] = {
                each.name.removeprefix(METADATA): cells[each.at] for each in metadata
            }
        yield Recipient(row.line, cells[columns.email].strip(), sent)


def parse_asked(texts: Iterable[str]) -> dict[str, str]:
    """Return what ``NAME=HEADING`` texts ask for.

    Raises:
        SpreadsheetError: one is not of that form, or a name is asked for twice.
    """
    asked: dict[str, str] = {}
    for text in texts:
        name, equals, heading = text.partition("=")
        name, heading = name.strip(), heading.strip().strip('"')
        if not equals or not name or not heading:
            raise SpreadsheetError(
                f'--column {text!r}: write NAME=HEADING, such as email="E-Mail"'
            )
        if name in asked:
            raise SpreadsheetError(f"--column {name} is given twice")
        asked[name] = heading
    return asked


def _headless(first: Sequence[Record]) -> Columns:
    """Return the columns of a file whose first row is an address already."""
    width = len(first[0].cells)
    found = [at for at in range(width) if _is_address(first[0].cells[at])]
    if len(found) > 1:
        raise SpreadsheetError(
            "the first line holds addresses in several columns and no names; add a line "
            "of names",
            first[0].line,
        )
    note = "the first line is an address, not names"
    if width > 1:
        note += f": only column {found[0] + 1} is taken"
    return Columns(found[0], (), width, False, (note,))


def _find_email(
    headings: Sequence[str], first: Sequence[Record], taken: Mapping[int, str]
) -> int:
    named = [
        at
        for at, heading in enumerate(headings)
        if at not in taken and _plain(heading) in _EMAIL_PLAIN
    ]
    exact = [at for at in named if headings[at] == "email"]
    found = exact or named or _by_cells(first, len(headings), taken)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, filter(None, headings)))
    what = "several columns may hold" if found else "no column holds"
    raise SpreadsheetError(
        f"{what} the addresses; name it: --column email=HEADING, one of {listed}",
        first[0].line,
    )


def _by_cells(
    first: Sequence[Record], width: int, taken: Mapping[int, str]
) -> list[int]:
    """Return the columns whose cells are addresses, nine in ten."""
    sample = first[1 : 1 + _SAMPLE]
    found = []
    for at in range(width):
        cells = [row.cells[at] for row in sample if at < len(row.cells)]
        filled = [each for each in cells if each.strip()]
        addresses = sum(map(_is_address, filled))
        if at not in taken and filled and 10 * addresses >= 9 * len(filled):
            found.append(at)
    return found


def _place_of(heading: str, headings: Sequence[str], line: int) -> int:
    found = [at for at, each in enumerate(headings) if each == heading] or [
        at for at, each in enumerate(headings) if _plain(each) == _plain(heading)
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, filter(None, headings)))
    what = "there are several columns" if found else "there is no column"
    raise SpreadsheetError(f"{what} {heading!r}; there are {listed}", line)


def _check_names(columns: Sequence[Column], line: int) -> None:
    seen: dict[str, str] = {}
    for each in columns:
        if each.name in seen:
            raise SpreadsheetError(
                f"columns {seen[each.name]!r} and {each.heading!r} are both "
                f"{each.name}; rename one with --column NAME=HEADING",
                line,
            )
        seen[each.name] = each.heading


def _fitting(row: Record, width: int) -> Sequence[str]:
    cells = row.cells
    if any(cells[width:]):
        raise SpreadsheetError(
            f"has {len(cells)} cells, but the first line names {width} columns",
            row.line,
        )
    return [*cells[:width], *[""] * (width - len(cells))]


def _field_name(heading: str) -> str:
    """Return the name of a field: what a template can say as an identifier."""
    if heading in MEMBERS or heading.startswith(METADATA):
        return heading
    text = unicodedata.normalize("NFKC", heading)
    name = re.sub(r"\W+", "_", text if text.isidentifier() else text.lower()).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _is_address(cell: str) -> bool:
    return _ADDRESS.fullmatch(cell) is not None


def _plain(text: str) -> str:
    """Return a heading without case, accents, blanks and punctuation."""
    spread = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in spread if char.isalnum())


_EMAIL_PLAIN: Final = frozenset(map(_plain, _EMAIL_NAMES))
