"""Takes one upload into its chunk: parsed, compared where it is known, synced.

A chunk may be uploaded any number of times. Rows that are on the disk already are not
stored again, but compared: a body with other rows under the same key is told. What a
broken connection left is complete up to a whole row.

Everything here blocks; a writer is used by one thread at a time.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from mailwright.errors import MailwrightError
from mailwright.queue.campaign.chunk_file import (
    Chunk,
    OpenedChunk,
    begin_digest,
    end_frame,
    finish_chunk_file,
    pack_row,
)
from mailwright.queue.campaign.frames import ROWS, to_frame, write_all
from mailwright.queue.campaign.rows import Row, RowParser, RowsError
from mailwright.queue.campaign.uploads import PIECE_OCTETS, PackedError, Unpacker
from mailwright.store.disk_errors import disk_errors
from mailwright.store.ports import StoreFullError

#: Rows are made durable after so many, or by the first call after so long.
SYNC_ROWS: Final = 50_000
SYNC_S: Final = 1.0
_FRAME_OCTETS: Final = 128 << 10


class ChunkConflictError(MailwrightError):
    """The body has other rows than the chunk of that key, or begins elsewhere."""


class StagingFullError(MailwrightError):
    """The job has as many rows, or octets, as one may have."""


class Ledger(Protocol):
    """What the staging area wants to know of a writer."""

    def charge(self, rows: int, octets: int) -> None:
        """Count what is about to be written.

        Raises:
            StagingFullError: it would be too much.
            StoreFullError: the disk has no room for it.
        """
        ...

    def note(self, chunk: Chunk, path: Path) -> None:
        """Take over what is on the disk now."""
        ...

    def release(self) -> None:
        """The writer has ended; called once."""
        ...


class ChunkWriter:
    """Feeds one upload into a chunk; leaving its ``with`` block is :meth:`abort`."""

    def __init__(
        self,
        opened: OpenedChunk,
        parser: RowParser,
        unpacker: Unpacker | None,
        ledger: Ledger,
        *,
        is_whole: bool,
        steady: Callable[[], float],
    ) -> None:
        """Go on with ``opened``, which is the writer's from now on.

        Args:
            opened: the chunk.
            parser: a fresh one.
            unpacker: a fresh one, if the body is packed.
            ledger: is told what is written.
            is_whole: the body is the whole file; else it begins behind the last row
                that is done.
            steady: seconds of a steady clock.
        """
        self._stored = self._chunk = self._written = opened.chunk
        self._path = opened.path
        self._descriptor = opened.descriptor
        self._parser = parser
        self._unpacker = unpacker
        self._ledger = ledger
        self._steady = steady
        #: Rows at the beginning of the body that are done, and only compared.
        self._to_compare = self._stored.rows_done if is_whole else 0
        self._digest = begin_digest() if is_whole else opened.digest
        self._pending = bytearray()
        self._pending_rows = self._pending_invalid = 0
        self._synced_at = steady()
        self._has_ended = False

    @property
    def rows_done(self) -> int:
        """How many rows of the chunk are on the disk."""
        return self._chunk.rows_done

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the body; rows are durable after this or a later call.

        Raises:
            RowsError: the file is malformed; lines are those of this body. The rows
                before the fault are durable.
            ChunkConflictError: the chunk has other rows.
            StagingFullError: too many rows or octets.
            StoreError: the disk refused.

        Each of these ends the writer and leaves the chunk as it is on the disk.
        """
        with self._ending_on_error():
            for piece in self._pieces(octets):
                self._parse(self._parser.feed, piece)
            if self._steady() - self._synced_at >= SYNC_S:
                self._sync()

    def finish(self) -> Chunk:
        """Take the end of the body and return the finished chunk, durable.

        Raises:
            RowsError: the file ends too early.
            ChunkConflictError: the chunk has other rows.
            StagingFullError: too many rows or octets.
            StoreError: the disk refused.
        """
        with self._ending_on_error():
            if self._unpacker is not None:
                with self._naming_line():
                    self._unpacker.finish()
            self._parse(lambda _end, rows: self._parser.finish(rows), b"")
            if self._to_compare:
                raise ChunkConflictError("the chunk has more rows than the body")
            if not self._stored.is_finished:
                self._write_frame()
                self._write_end()
        self._end()
        return self._chunk

    def abort(self) -> Chunk:
        """Leave the chunk unfinished, with every whole row on the disk.

        Does nothing to a writer that has ended.

        Raises:
            StoreError: the disk refused.
        """
        if not self._has_ended:
            try:
                with disk_errors("write staged rows"):
                    # Rows that are too many are left out.
                    with suppress(StagingFullError, StoreFullError):
                        self._write_frame()
                    self._sync()
            finally:
                self._end()
        return self._chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        if self._has_ended:
            raise ValueError("the writer has ended")
        try:
            with disk_errors("write staged rows"):
                yield
        except (RowsError, StagingFullError, StoreFullError):
            self.abort()
            raise
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            os.close(self._descriptor)
            self._ledger.release()

    def _pieces(self, octets: bytes) -> Iterable[bytes]:
        if self._unpacker is None:
            starts = range(0, len(octets), PIECE_OCTETS)
            return (octets[at : at + PIECE_OCTETS] for at in starts)
        return self._unpacked(self._unpacker, octets)

    def _unpacked(self, unpacker: Unpacker, octets: bytes) -> Iterator[bytes]:
        with self._naming_line():
            yield from unpacker.feed(octets)

    @contextmanager
    def _naming_line(self) -> Iterator[None]:
        try:
            yield
        except PackedError as error:
            raise RowsError(self._parser.line, 1, str(error)) from None

    def _parse(self, step: Callable[[bytes, list[Row]], None], octets: bytes) -> None:
        rows: list[Row] = []
        try:
            step(octets, rows)
        finally:
            self._take(rows)  # those before a fault are sound

    def _take(self, rows: list[Row]) -> None:
        if self._to_compare:
            rows = self._compare(rows)
        if rows and self._stored.is_finished:
            raise ChunkConflictError("the body has more rows than the chunk")
        pending = self._pending
        for row in rows:
            pack_row(row, pending)
            self._pending_rows += 1
            if row.reason:
                self._pending_invalid += 1
            if len(pending) >= _FRAME_OCTETS:
                self._write_frame()
        if self._written.rows_done - self._chunk.rows_done >= SYNC_ROWS:
            self._sync()

    def _compare(self, rows: list[Row]) -> list[Row]:
        """Compare those rows that are done already, and return the others."""
        known = rows[: self._to_compare]
        octets = bytearray()
        for row in known:
            pack_row(row, octets)
        self._digest.update(octets)
        self._to_compare -= len(known)
        if not self._to_compare and self._digest.hexdigest() != self._stored.digest:
            raise ChunkConflictError("the body has other rows than the chunk")
        return rows[len(known) :]

    def _write_frame(self) -> None:
        """Write what is pending; it is not durable yet."""
        if not self._pending_rows:
            return
        rows, invalid = self._pending_rows, self._pending_invalid
        payload = bytes(self._pending)
        octets = to_frame(ROWS, payload, rows, invalid)
        # Whatever happens next, these rows are in the file or nowhere.
        self._pending.clear()
        self._pending_rows = self._pending_invalid = 0
        self._ledger.charge(rows, len(octets))
        write_all(self._descriptor, octets)
        self._digest.update(payload)
        self._written = replace(
            self._written,
            rows_done=self._written.rows_done + rows,
            invalid=self._written.invalid + invalid,
            octets=self._written.octets + len(octets),
        )

    def _sync(self) -> None:
        self._write_frame()
        self._synced_at = self._steady()
        if self._written.rows_done == self._chunk.rows_done:
            return
        os.fsync(self._descriptor)
        self._chunk = replace(self._written, digest=self._digest.hexdigest())
        self._ledger.note(self._chunk, self._path)

    def _write_end(self) -> None:
        done = replace(self._written, is_finished=True, digest=self._digest.hexdigest())
        octets = end_frame(done)
        write_all(self._descriptor, octets)
        os.fsync(self._descriptor)
        self._path = finish_chunk_file(self._path)
        self._chunk = replace(done, octets=done.octets + len(octets))
        self._ledger.note(self._chunk, self._path)
