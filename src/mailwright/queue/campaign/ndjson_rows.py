"""NDJSON: an object a line, in UTF-8; a byte order mark and blank lines are skipped.

A line that is JSON but not a row (no object, an unknown key, a number where a text
belongs) is a bad row. A line that is no JSON makes the file malformed: what was cut off
or glued together there cannot be known.

Standards: RFC 8259 (JSON).
"""

import re
from typing import Any, Final

import msgspec

from mailwright.queue.campaign.rows import (
    LINE_MAX_OCTETS,
    BadRowError,
    Row,
    RowsError,
    bad_row,
    encode_fields,
    encode_metadata,
    judge,
)

_BOM: Final = b"\xef\xbb\xbf"
_AT_BYTE: Final = re.compile(r"\(byte ([0-9]+)\)")
_TOO_DEEP: Final = "fields are nested too deeply"


class _Object(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line as most are. What does not fit is looked at again, for the reason."""

    email: str
    fields: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    engaged_at: str | None = None
    timezone: str | None = None
    variant: str | None = None


_decode: Final = msgspec.json.Decoder(_Object).decode
_decode_any: Final = msgspec.json.Decoder().decode
_KEYS: Final = frozenset(_Object.__struct_fields__)
_TEXTS: Final = ("engaged_at", "timezone", "variant")


class NdjsonRows:
    """Reads one file of NDJSON; see :class:`~mailwright.queue.campaign.rows.RowParser`."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._line = 1

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        return self._line

    def feed(self, octets: bytes, rows: list[Row]) -> None:
        """Append to ``rows`` what ``octets`` complete.

        Raises:
            RowsError: a line is no JSON, no UTF-8, or too long.
        """
        end = octets.rfind(b"\n") + 1
        if end:
            lines = bytes(self._rest + octets[:end]).split(b"\n")
            lines.pop()  # what follows the last line end: nothing
            self._rest.clear()
            for line in lines:
                self._take(line, rows)
                self._line += 1
        self._rest += octets[end:]
        if len(self._rest) > LINE_MAX_OCTETS:
            raise self._too_long()

    def finish(self, rows: list[Row]) -> None:
        """Append the last line, which may lack its end.

        Raises:
            RowsError: as :meth:`feed`.
        """
        line = bytes(self._rest)
        self._rest.clear()
        self._take(line, rows)

    def _take(self, line: bytes, rows: list[Row]) -> None:
        if len(line) > LINE_MAX_OCTETS:
            raise self._too_long()
        if self._line == 1:
            line = line.removeprefix(_BOM)
        if not line or line.isspace():
            return
        try:
            row = _decode(line)
            said = judge(
                row.email,
                encode_fields(row.fields),
                encode_metadata(row.metadata),
                row.engaged_at,
                row.timezone,
                row.variant,
            )
        except (ValueError, RecursionError, BadRowError):
            rows.append(self._bad(line))
        else:
            rows.append(said)

    def _bad(self, line: bytes) -> Row:
        """Return why ``line`` is no row.

        Raises:
            RowsError: it is no JSON either.
        """
        try:
            value = _decode_any(line)
        except msgspec.ValidationError:
            return bad_row("", "a number is out of range")
        except RecursionError:
            return bad_row("", _TOO_DEEP)
        except UnicodeDecodeError:
            raise RowsError(self._line, _first_bad(line), "not UTF-8") from None
        except msgspec.DecodeError as error:
            found = _AT_BYTE.search(str(error))
            good = line[: int(found[1])] if found else line
            if "trailing" in str(error):  # it tells the octet after
                good = good[:-1]
            column = len(good.decode(errors="ignore")) + 1
            raise RowsError(self._line, column, "not valid JSON") from None
        email = value.get("email") if isinstance(value, dict) else None
        return bad_row(email, _reason(value))

    def _too_long(self) -> RowsError:
        reason = f"a line is over {LINE_MAX_OCTETS} octets"
        return RowsError(self._line, LINE_MAX_OCTETS + 1, reason)


def _first_bad(line: bytes) -> int:
    """Return the column of the first octet that is no UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return len(line[: error.start].decode()) + 1
    return 1


def _reason(value: object) -> str:
    """Return why a line that is JSON is no row."""
    if not isinstance(value, dict):
        return "a row must be an object"
    if value.keys() - _KEYS:
        return "a row has an unknown key; fields of a recipient go into `fields`"
    if value.get("email") is None:
        return "email is missing"
    if not isinstance(value["email"], str):
        return "email must be text"
    if not isinstance(value.get("fields"), dict | None):
        return "fields must be an object"
    metadata = value.get("metadata")
    if metadata is not None and not (
        isinstance(metadata, dict)
        and all(isinstance(each, str) for each in metadata.values())
    ):
        return "metadata must be an object of texts"
    for key in _TEXTS:
        if not isinstance(value.get(key), str | None):
            return f"{key} must be text"
    return _TOO_DEEP
