"""★ Rows in chunks whose keys follow from their content. Pure.

The same file gives the same chunks with the same keys, so an upload that was interrupted
is simply done again: the node answers what it has of each key. The number of a chunk is
in its key: two equal chunks of one file are two.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from mailwright.cli.spreadsheet import SpreadsheetError

#: Rows of one request: some seconds of work for both sides.
CHUNK_ROWS: Final = 50_000
_KEY_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Rows that are sent in one request.

    Attributes:
        first: number of its first row, from 1 over the whole file.
        lines: NDJSON, without line ends.
    """

    key: str
    first: int
    lines: Sequence[bytes]

    def packed(self, after: int = 0) -> bytes:
        """Return the rows behind the first ``after`` ones, as gzip; slow: use a thread."""
        text = b"\n".join(self.lines[after:]) + b"\n"
        return gzip.compress(text, compresslevel=1, mtime=0)


def chunks_of(lines: Iterable[bytes], rows: int = CHUNK_ROWS) -> Iterator[RowChunk]:
    """Yield ``lines`` in chunks of ``rows``; the last one may be smaller."""
    left = iter(lines)
    first = 1
    while some := list(islice(left, rows)):
        digest = hashlib.sha256(b"%d\n" % first)
        for line in some:
            digest.update(line)
            digest.update(b"\n")
        yield RowChunk(digest.hexdigest()[:_KEY_CHARS], first, some)
        first += len(some)


def ndjson_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the objects of an NDJSON file, one line each; blank lines are left out.

    Raises:
        SpreadsheetError: a line is no JSON object, with its place.
    """
    file.seek(0)
    for number, line in enumerate(file, 1):
        text = line.strip()
        if not text:
            continue
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpreadsheetError(error.msg, number, error.colno) from None
        except UnicodeDecodeError:
            raise SpreadsheetError("is not UTF-8", number) from None
        if not isinstance(found, dict):
            raise SpreadsheetError("is no JSON object", number, 1)
        yield text
