"""Recipients as they are uploaded: what a row may say, and what makes it a bad one.

A *bad row* (no address, a date that is none, fields that are too large) becomes a
:class:`Row` with a reason and spoils no other. A *malformed file* (broken JSON, quotes
that never close, octets that are no UTF-8) has no rows after the fault that one could
trust: the parsers raise :class:`RowsError` there, with line and column. No reason ever
repeats the input.

The parsers (``ndjson_rows``, ``csv_rows``) take octets in any cut and give the same
rows for every cut. They know no clock: how long ago somebody reacted is a question for
:func:`band_of`, when the job is sealed.

Standards: RFC 3339 §5.6 (dates), RFC 8259 (JSON), RFC 5321 by ``mailwright.address``.
"""

import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from mailwright.address import (
    MAX_LOCAL_PART_OCTETS,
    MAX_PATH_OCTETS,
    AddressError,
    canonical_domain,
    parse_address,
)
from mailwright.errors import MailwrightError

#: A line of NDJSON, or a record of CSV with all its lines.
LINE_MAX_OCTETS: Final = 64 << 10
#: As JSON.
FIELDS_MAX_OCTETS: Final = 16 << 10
METADATA_MAX_OCTETS: Final = 4 << 10
VARIANT_MAX_CHARS: Final = 64
#: Objects and lists in each other; who renders them recurses as deep.
FIELDS_MAX_DEPTH: Final = 32
#: What a reject shows of an address that is none.
GIVEN_MAX_CHARS: Final = 320
NO_FIELDS: Final = b"{}"
NO_METADATA: Final = "{}"

#: Days since the recipient reacted, at most, for each band; more is band 7.
_BAND_DAYS: Final = ((7, 0), (30, 1), (90, 2), (180, 3), (365, 5), (730, 6))
_OLDEST_BAND: Final = 7
_UNKNOWN_BAND: Final = 4
_DAY_S: Final = 86_400

# What most addresses look like. Whatever else there is goes to parse_address.
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9_+-]++(?:\.[A-Za-z0-9_+-]++)*@[A-Za-z0-9.-]++"
).fullmatch
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
).fullmatch
_to_json: Final = msgspec.json.Encoder().encode


class RowsError(MailwrightError):
    """The file is malformed; rows before the fault are sound.

    Attributes:
        line: counted from 1.
        column: in characters from 1, on that line.
        reason: what is wrong, without any part of the input.
    """

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.reason = reason


class Row(msgspec.Struct, array_like=True, gc=False):
    """One uploaded row, as it lies in staging.

    Attributes:
        address: canonical; of a bad row what was given, at most 320 characters.
        domain: of the address; empty of a bad row.
        fields: a JSON object.
        metadata: a JSON object of texts.
        engaged_at: seconds since 1970, when the recipient last reacted; or unknown.
        timezone: an IANA name, or empty.
        variant: a name, or empty.
        reason: why the row is bad; empty of a good one.
    """

    address: str
    domain: str = ""
    fields: bytes = NO_FIELDS
    metadata: str = NO_METADATA
    engaged_at: int | None = None
    timezone: str = ""
    variant: str = ""
    reason: str = ""


class BadRowError(MailwrightError):
    """The row cannot be mailed; the text is its reason."""


class RowParser(Protocol):
    """Reads rows from octets in any cut."""

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        ...

    def feed(self, octets: bytes, rows: list[Row]) -> None:
        """Append to ``rows`` what ``octets`` complete.

        Raises:
            RowsError: the file is malformed; ``rows`` has what came before. The
                parser must not be used any more.
        """
        ...

    def finish(self, rows: list[Row]) -> None:
        """Append what the end of the file completes; raises as :meth:`feed` does."""
        ...


def judge(
    email: str,
    fields: bytes,
    metadata: bytes,
    engaged_at: str | None = None,
    timezone: str | None = None,
    variant: str | None = None,
) -> Row:
    """Return the row that these texts make: good, or bad with its reason.

    Args:
        email: as given.
        fields: a JSON object.
        metadata: a JSON object of texts.
        engaged_at: a date or time; like the others, absent or empty: not given.
        timezone: an IANA name.
        variant: a name.
    """
    try:
        address, domain = canonical_of(email)
        if len(fields) > FIELDS_MAX_OCTETS:
            return bad_row(email, f"fields are over {FIELDS_MAX_OCTETS} octets")
        if len(metadata) > METADATA_MAX_OCTETS:
            return bad_row(email, f"metadata is over {METADATA_MAX_OCTETS} octets")
        return Row(
            address,
            domain,
            fields,
            metadata.decode(),
            parse_engaged_at(engaged_at) if engaged_at else None,
            _timezone_of(timezone) if timezone else "",
            _variant_of(variant) if variant else "",
        )
    except BadRowError as error:
        return bad_row(email, str(error))


def bad_row(email: object, reason: str) -> Row:
    """Return the row that only says why it is none."""
    given = email if isinstance(email, str) else ""
    return Row(given[:GIVEN_MAX_CHARS], reason=reason)


def canonical_of(text: str) -> tuple[str, str]:
    """Return the canonical address that ``text`` spells, and its domain.

    The same as ``parse_address``, four times as fast for plain addresses.

    Raises:
        BadRowError: it spells none.
    """
    if not text:
        raise BadRowError("email is missing")
    try:
        if _PLAIN(text) and len(text) <= MAX_PATH_OCTETS:
            address = text.lower()
            local_part, _, domain = address.partition("@")
            if len(local_part) <= MAX_LOCAL_PART_OCTETS:
                return address, canonical_domain(domain)
        parsed = parse_address(text)
    except AddressError as error:
        raise BadRowError(error.reason) from None
    return parsed.canonical, parsed.domain


def parse_engaged_at(text: str) -> int:
    """Return the seconds since 1970 of a date (its midnight, UTC) or a time.

    Raises:
        BadRowError: neither RFC 3339's ``date-time`` nor its ``full-date``.
    """
    reason = "engaged_at is neither a date nor an RFC 3339 time"
    if _DATE(text) is None:
        raise BadRowError(reason)
    try:
        at = datetime.fromisoformat(text.upper())
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise BadRowError(reason) from None


def band_of(engaged_at: int | None, now: datetime) -> int:
    """Return how promising a recipient is: 0, who reacted within a week, to 7.

    Args:
        engaged_at: seconds since 1970; one in the future counts as now.
        now: aware.
    """
    if engaged_at is None:
        return _UNKNOWN_BAND
    age_s = now.timestamp() - engaged_at
    for days, band in _BAND_DAYS:
        if age_s <= days * _DAY_S:
            return band
    return _OLDEST_BAND


def encode_fields(fields: Mapping[str, object] | None) -> bytes:
    """Return ``fields`` as JSON.

    Raises:
        BadRowError: nested too deeply.
    """
    if not fields:
        return NO_FIELDS
    octets = _to_json(fields)
    # Counting is cheap, and enough for all but odd rows.
    if octets.count(b"{") + octets.count(b"[") > FIELDS_MAX_DEPTH:
        _require_shallow(fields)
    return octets


def encode_metadata(metadata: Mapping[str, str] | None) -> bytes:
    """Return ``metadata`` as JSON."""
    return _to_json(metadata) if metadata else b"{}"


def _timezone_of(text: str) -> str:
    if text not in _zones():
        raise BadRowError("timezone is no name of the IANA database")
    return text


def _variant_of(text: str) -> str:
    if len(text) > VARIANT_MAX_CHARS:
        raise BadRowError(f"variant is over {VARIANT_MAX_CHARS} characters")
    if not text.isprintable():
        raise BadRowError("variant has a control character")
    return text


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _require_shallow(fields: Mapping[str, Any]) -> None:
    level: list[Any] = [fields]
    for _ in range(FIELDS_MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise BadRowError("fields are nested too deeply")
