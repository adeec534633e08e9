"""What comes in an upload's body: which format, and packed or not.

Standards: RFC 4180 §3, RFC 7111 (parameters of ``text/csv``), RFC 1952 (gzip).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final, Literal

from mailwright.errors import MailwrightError
from mailwright.queue.campaign.csv_rows import CsvRows
from mailwright.queue.campaign.ndjson_rows import NdjsonRows
from mailwright.queue.campaign.rows import RowParser

#: What is handed to a parser at once: its thread holds the interpreter for about this.
PIECE_OCTETS: Final = 64 << 10
#: What packed octets may grow to; lists of recipients shrink 5 to 50 times.
RATIO_MAX: Final = 200
_RATIO_FROM_OCTETS: Final = 1 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS

_NDJSON_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl"}
)


class RowFormatError(MailwrightError):
    """Not a content type that uploads may have; the text says which may."""


class PackedError(MailwrightError):
    """The packed octets are broken, or grow beyond all measure."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How rows are written.

    Attributes:
        kind: which.
        delimiter: between the cells of CSV.
    """

    kind: Literal["ndjson", "csv"] = "ndjson"
    delimiter: str = ","

    def parser(self) -> RowParser:
        """Return a parser for one file."""
        return NdjsonRows() if self.kind == "ndjson" else CsvRows(self.delimiter)


def parse_row_format(content_type: str) -> RowFormat:
    """Return what a ``Content-Type`` says of the rows.

    ``delimiter`` is ours: one character, or ``tab``.

    Raises:
        RowFormatError: another type, charset, or delimiter; or no header line.
    """
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    parameters = {name.lower(): str(header.get_param(name)) for name in _names(header)}
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise RowFormatError("rows must be in UTF-8")
    if kind in _NDJSON_TYPES:
        return RowFormat()
    if kind != "text/csv":
        raise RowFormatError("rows come as application/x-ndjson or text/csv")
    if parameters.get("header", "present").lower() != "present":
        raise RowFormatError("a CSV file needs its header line")
    delimiter = parameters.get("delimiter", ",")
    try:
        return _csv("\t" if delimiter.lower() == "tab" else delimiter)
    except ValueError as error:
        raise RowFormatError(str(error)) from None


def _csv(delimiter: str) -> RowFormat:
    CsvRows(delimiter)
    return RowFormat("csv", delimiter)


def _names(header: Message) -> list[str]:
    return [name for name, _ in (header.get_params() or [])[1:]]


class Unpacker:
    """Unpacks gzip as it comes, in small pieces; several members in a row are one."""

    def __init__(self, octets_max: int) -> None:
        """Refuse what unpacks to more than ``octets_max``."""
        self._octets_max = octets_max
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False
        self._octets_in = self._octets_out = 0

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Yield what ``octets`` unpack to.

        Raises:
            PackedError: no gzip, or a bomb.
        """
        self._octets_in += len(octets)
        piece = b""
        # A full piece may leave more inside, even when all octets are consumed.
        while octets or len(piece) == PIECE_OCTETS:
            if self._member.eof:
                if not octets:
                    break
                self._member = zlib.decompressobj(_GZIP)
            self._has_begun = True
            try:
                piece = self._member.decompress(octets, PIECE_OCTETS)
            except zlib.error:
                raise PackedError("not sound gzip data") from None
            octets = (
                self._member.unused_data
                if self._member.eof
                else self._member.unconsumed_tail
            )
            self._octets_out += len(piece)
            self._measure()
            if piece:
                yield piece

    def finish(self) -> None:
        """See that the last member is whole.

        Raises:
            PackedError: it is not.
        """
        if self._has_begun and not self._member.eof:
            raise PackedError("gzip data ends too early")

    def _measure(self) -> None:
        if self._octets_out > self._octets_max:
            raise PackedError(f"unpacks to over {self._octets_max} octets")
        allowed = max(_RATIO_FROM_OCTETS, RATIO_MAX * self._octets_in)
        if self._octets_out > allowed:
            raise PackedError(f"unpacks to over {RATIO_MAX} times its size")
