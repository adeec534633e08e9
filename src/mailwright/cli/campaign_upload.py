"""``mailwright campaign upload``: recipients from a file, in chunks that can be repeated.

The keys of the chunks follow from the file's content. Where an upload broke off, the same
command goes on behind the rows that the node says are durable; what it has is not sent
again. The next chunk is read and packed while one is on its way.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import httpx
import typer

from mailwright.cli.campaign_names import IdArgument, path_of
from mailwright.cli.chunking import CHUNK_ROWS, RowChunk, chunks_of, ndjson_lines
from mailwright.cli.columns import find_columns, parse_asked, recipients
from mailwright.cli.failures import EXIT_SETTINGS, CommandError, command_errors
from mailwright.cli.given_file import opened
from mailwright.cli.operator import JsonOption, RefusedError
from mailwright.cli.option_groups import with_groups
from mailwright.cli.progress import Report, bar
from mailwright.cli.reaching import ApiDoor, TenantReach
from mailwright.cli.spreadsheet import SpreadsheetError, find_dialect, records
from mailwright.config.problems import printable

ROWS_DONE_HEADER: Final = "Upload-Rows-Done"
#: Rows that are looked at to find the columns.
_HEAD_ROWS: Final = 200
#: How often a chunk is tried again after its connection was lost, and how soon.
_TRIES: Final = 6
_FIRST_WAIT_S: Final = 0.5
#: Problems that pass: an upload of the same key is ending, too many requests, not now.
_PASSING: Final = frozenset({409, 429, 503})


@dataclass(frozen=True, slots=True)
class Written:
    """How the file is written; what is not given is found."""

    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=HEADING",
            help='Which column is what: email="E-Mail", metadata.id=Number, town=Ort.',
        ),
    ] = None
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Such as windows-1251.")
    ] = None
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", help="One character; tab: $'\\\\t'.")
    ] = None


@dataclass(slots=True)
class Uploaded:
    """How much was uploaded.

    Attributes:
        rows: that the node has now.
        before: of them, those that it had from an earlier upload of the same file.
        invalid: of them, those that get no delivery; ``rejects`` says why.
    """

    rows: int = 0
    before: int = 0
    staged: int = 0
    invalid: int = 0
    chunks: int = 0


@with_groups
def upload_command(
    ident: IdArgument,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV or NDJSON; - is standard input."),
    ],
    reach: TenantReach,
    written: Written,
    chunk_rows: Annotated[
        int, typer.Option("--chunk-rows", min=1, max=1_000_000, hidden=True)
    ] = CHUNK_ROWS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how the file would be read.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload recipients: CSV straight from a spreadsheet, or NDJSON; gzip too.

    Run it again after an interruption: it goes on where the node says. Exits with 2 when
    the file is malformed; the rows before that place may be uploaded.
    """
    with command_errors():
        say = _nothing if as_json else _note
        with opened(file) as octets:
            try:
                lines = lines_of(octets, written, say)
                if dry_run:
                    count = sum(1 for _ in lines)
                    print(json.dumps({"rows": count}) if as_json else f"{count} rows")
                    return
                done = _uploaded(reach, ident, octets, chunks_of(lines, chunk_rows))
            except SpreadsheetError as error:
                print(printable(f"{file}: {error}"), file=sys.stderr)
                raise typer.Exit(EXIT_SETTINGS) from None
    if as_json:
        print(json.dumps(asdict(done)))
        return
    before = f" ({done.before:,} of them before)" if done.before else ""
    invalid = f"; {done.invalid:,} are invalid" if done.invalid else ""
    print(f"{done.rows:,} rows are uploaded{before}{invalid}")


def lines_of(
    file: BinaryIO, written: Written, say: Callable[[str], None]
) -> Iterator[bytes]:
    """Return the rows of a file as NDJSON lines; ``say`` is told how it is read.

    Raises:
        SpreadsheetError: it is malformed; also while the lines are read.
    """
    file.seek(0)
    if file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        say("NDJSON")
        return ndjson_lines(file)
    dialect = find_dialect(file, encoding=written.encoding, delimiter=written.delimiter)
    say(dialect.to_text())
    head = list(islice(records(file, dialect), _HEAD_ROWS))
    columns = find_columns(head, parse_asked(written.column or ()))
    for note in columns.notes:
        say(note)
    return (each.to_json() for each in recipients(records(file, dialect), columns))


def _uploaded(
    reach: TenantReach, ident: str, file: BinaryIO, chunks: Iterator[RowChunk]
) -> Uploaded:
    done = Uploaded()
    size = _size_of(file)

    async def work(door: ApiDoor) -> SpreadsheetError | None:
        with bar("uploading") as report:
            try:
                await _Upload(door, ident, done, report).run(chunks, file, size)
            except SpreadsheetError as error:
                return error
        return None

    if (defect := reach.run_api(work)) is not None:
        raise defect
    return done


class _Upload:
    """One upload."""

    def __init__(
        self, door: ApiDoor, ident: str, done: Uploaded, report: Report
    ) -> None:
        self._door = door
        self._ident = ident
        self._done = done
        self._report = report

    async def run(
        self, chunks: Iterator[RowChunk], file: BinaryIO, size: int | None
    ) -> None:
        """Send all chunks, in order; the next one is made meanwhile."""

        def make() -> tuple[RowChunk, int | None] | None:
            chunk = next(chunks, None)
            return None if chunk is None else (chunk, _position_of(file))

        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(None, make)
        while made is not None:
            chunk, position = made
            rows = chunk.first + len(chunk.lines) - 1
            of = None if size is None or not position else rows * size // position
            making = loop.run_in_executor(None, make)
            try:
                await self._send(chunk)
            finally:
                # One thread at a time reads the file, also when we break off here.
                await asyncio.wait([making])
            self._report(self._done.rows, of)
            made = making.result()

    async def _send(self, chunk: RowChunk) -> None:
        """Send what the node does not have of ``chunk``, until it has all of it."""
        wait_s = _FIRST_WAIT_S
        before: int | None = None
        for left in reversed(range(_TRIES)):
            try:
                known = await self._known(chunk)
                if before is None:
                    before = known["rows"]
                if not known["finished"]:
                    known = await self._put(chunk, known["rows"])
            except (httpx.TransportError, CommandError) as error:
                if left == 0 or not _may_pass(error):
                    raise _said(error, chunk) from error
            else:
                self._count(known, before)
                return
            # The node is away or busy; nothing tells us when it is not any more.
            await asyncio.sleep(wait_s)
            wait_s *= 2

    async def _known(self, chunk: RowChunk) -> dict[str, Any]:
        try:
            path = path_of(self._ident, "chunks", chunk.key)
            found: dict[str, Any] = await self._door.ask("GET", path)
        except RefusedError as error:
            if error.problem.get("status") != 404:
                raise
            return {"rows": 0, "finished": False}
        return found

    async def _put(self, chunk: RowChunk, after: int) -> dict[str, Any]:
        content = await asyncio.to_thread(chunk.packed, after)
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
        }
        if after:
            headers[ROWS_DONE_HEADER] = str(after)
        found: dict[str, Any] = await self._door.put(
            path_of(self._ident, "recipients"),
            content,
            params={"key": chunk.key},
            headers=headers,
        )
        return found

    def _count(self, chunk: dict[str, Any], before: int) -> None:
        done = self._done
        done.rows += chunk["rows"]
        done.before += before
        done.staged += chunk["staged"]
        done.invalid += chunk["invalid"]
        done.chunks += 1


def _may_pass(error: Exception) -> bool:
    if isinstance(error, RefusedError):
        return error.problem.get("status") in _PASSING
    return True


def _said(error: Exception, chunk: RowChunk) -> CommandError:
    """Return ``error`` with the rows it is about."""
    if isinstance(error, RefusedError):
        return error
    last = chunk.first + len(chunk.lines) - 1
    return CommandError(
        f"rows {chunk.first} to {last} were not taken: the node does not answer "
        f"({type(error).__name__}); run this again to go on"
    )


def _size_of(file: BinaryIO) -> int | None:
    """Return how many octets a file has, if that is known beforehand."""
    try:
        at = file.tell()
        end = file.seek(0, 2)
        file.seek(at)
    except (OSError, ValueError):
        return None  # packed
    return end


def _position_of(file: BinaryIO) -> int | None:
    try:
        return file.tell()
    except (OSError, ValueError):
        return None


def _note(text: str) -> None:
    print(printable(text), file=sys.stderr)


def _nothing(_: str) -> None:
    return
