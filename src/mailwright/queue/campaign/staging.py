"""Where uploaded recipients wait until their job is sealed.

Theory of operation. A campaign has a folder, named by its number; in it each upload (a
*chunk*, named by the client's key) is a file of frames, numbered by first arrival. Rows
are numbered from 1 over the chunks in that order, so any repetition, interruption and
overlap of uploads ends in the same rows. Sealing sorts them (``preparing``) into a
folder ``prepared`` beside the chunks, which appears whole or not at all. What is told
to be done (``rows_done``, a finished chunk, a prepared job) was synced before.

Chunks stay until the job is sealed; :meth:`forget` removes them, and keeps for a week what
became of each, so that a late repeat gets the stored result.

Everything here blocks: call it from threads. An area is used by many at a time.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mailwright.clock import Clock
from mailwright.errors import MailwrightError
from mailwright.ids import Subject
from mailwright.queue.campaign.chunk_file import (
    OPEN,
    Chunk,
    OpenedChunk,
    StagingDamagedError,
    begin_digest,
    chunk_files,
    create_chunk_file,
    open_to_append,
    scan_chunk,
)
from mailwright.queue.campaign.chunk_results import (
    SUFFIX,
    read_results,
    remove_old_results,
    write_results,
)
from mailwright.queue.campaign.chunk_writer import (
    ChunkConflictError,
    ChunkWriter,
    StagingFullError,
)
from mailwright.queue.campaign.prepared import Prepared
from mailwright.queue.campaign.preparing import PREPARED_ROW_OCTETS, Preparing, Progress
from mailwright.queue.campaign.staging_limits import StagingLimits, require_room
from mailwright.queue.campaign.uploads import RowFormat, Unpacker
from mailwright.store.disk_errors import disk_errors
from mailwright.store.folders import make_folder, sync_folder

KEY_MAX_CHARS: Final = 200
_CAMPAIGN: Final = re.compile(r"[1-9][0-9]{0,19}")
_GONE: Final = ".gone"


class ChunkBusyError(MailwrightError):
    """Somebody else is uploading this chunk, or the job is being sealed."""


class StagingSealedError(MailwrightError):
    """The job is sealed; it takes no new rows."""


class UnfinishedChunksError(MailwrightError):
    """Uploads have begun and not ended: what is missing cannot be known.

    Attributes:
        keys: of the chunks, in the order of arrival.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"{len(keys)} uploads are not finished")
        self.keys = tuple(keys)


@dataclass(slots=True)
class _Job:
    """A campaign's chunks as they are on the disk."""

    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_read: bool = False
    chunks: dict[str, Chunk] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    #: Keys that are being written: what was charged and not noted yet.
    writing: dict[str, tuple[int, int]] = field(default_factory=dict)
    is_preparing: bool = False
    #: Its rows are gone; the chunks are what was finished of them.
    is_over: bool = False


class StagingArea:
    """The staging folder of a node."""

    def __init__(
        self, folder: Path, clock: Clock, limits: StagingLimits | None = None
    ) -> None:
        """Use ``folder``, made when it is needed."""
        self._folder = folder
        self._clock = clock
        self._limits = limits or StagingLimits()
        self._lock = threading.Lock()
        self._jobs: dict[int, _Job] = {}

    def chunk(self, campaign: int, key: str) -> Chunk | None:
        """Return what is on the disk of a chunk, or ``None``: never begun.

        Raises:
            StoreError: it cannot be read.
        """
        with self._locked(campaign) as job:
            return job.chunks.get(key)

    def chunks(self, campaign: int) -> tuple[Chunk, ...]:
        """Return a campaign's chunks in the order of first arrival.

        Raises:
            StoreError: they cannot be read.
        """
        with self._locked(campaign) as job:
            return tuple(job.chunks.values())

    def octets(self, campaign: int) -> int:
        """Return how much of the disk a campaign takes here.

        Raises:
            StoreError: it cannot be read.
        """
        with disk_errors("measure staged rows"):
            return sum(
                path.lstat().st_size
                for path in self._path(campaign).rglob("*")
                if path.is_file()
            )

    def open_chunk(
        self,
        campaign: int,
        key: str,
        fmt: RowFormat,
        *,
        gzip: bool = False,
        continues_at: int | None = None,
    ) -> ChunkWriter:
        """Begin an upload, or go on with one. The writer must be finished or aborted.

        Of a finished chunk the writer only compares; its ``finish`` returns the stored
        result.

        Args:
            campaign: its number.
            key: what the client calls the chunk: 1 to 200 characters.
            fmt: how the body is written.
            gzip: whether it is packed.
            continues_at: how many rows the body leaves out (it still has CSV's header
                line), which must be all that are done; ``None``: it is the whole file.

        Raises:
            ChunkBusyError: somebody else is writing it, or the job is being sealed.
            ChunkConflictError: ``continues_at`` is not how many rows are done.
            StagingSealedError: the job is sealed and the chunk not finished.
            StoreError: the disk refused.
            ValueError: the key is empty or too long.
        """
        if not 0 < len(key) <= KEY_MAX_CHARS:
            raise ValueError(f"a chunk's key has 1 to {KEY_MAX_CHARS} characters")
        unpacker = Unpacker(self._limits.octets) if gzip else None
        with self._locked(campaign) as job:
            if key in job.writing or job.is_preparing:
                raise ChunkBusyError("the chunk is being written")
            opened = self._opened(job, key)
            if continues_at not in {None, opened.chunk.rows_done}:
                os.close(opened.descriptor)
                raise ChunkConflictError("the body does not begin where the chunk ends")
            job.chunks[key], job.paths[key] = opened.chunk, opened.path
            job.writing[key] = (0, 0)
        ledger = _Ledger(self._limits, job, key)
        return ChunkWriter(
            opened,
            fmt.parser(),
            unpacker,
            ledger,
            is_whole=continues_at is None,
            steady=self._clock.steady,
        )

    def prepare(
        self,
        campaign: int,
        subject_of: Callable[[str], Subject],
        suppressed: Callable[[Sequence[bytes]], Mapping[bytes, str]],
        progress: Progress,
    ) -> Prepared:
        """Give every row its outcome and sort the accepted ones into lines.

        A job that is prepared is returned as it is. A crash on the way leaves nothing
        that counts: the next call begins again. How long ago recipients reacted is
        counted from now.

        Args:
            campaign: its number.
            subject_of: the subject of a canonical address.
            suppressed: of some sorted subjects those that must not be mailed, with the
                reason and its scope.
            progress: called with rows done and their number, each counted twice.

        Raises:
            UnfinishedChunksError: an upload has not ended.
            ChunkBusyError: one is going on, or another thread prepares the job.
            StoreError: the disk refused, or what was staged is damaged.
        """
        with self._locked(campaign) as job:
            if (prepared := Prepared.opened(job.folder)) is not None:
                return prepared
            if job.writing or job.is_preparing:
                raise ChunkBusyError("the job is being written")
            if keys := [c.key for c in job.chunks.values() if not c.is_finished]:
                raise UnfinishedChunksError(keys)
            make_folder(job.folder)
            rows = sum(chunk.rows_done for chunk in job.chunks.values())
            octets = sum(chunk.octets for chunk in job.chunks.values())
            require_room(job.folder, self._limits, octets + rows * PREPARED_ROW_OCTETS)
            job.is_preparing = True
        try:
            with disk_errors("prepare rows"):
                preparing = Preparing(
                    job.folder,
                    list(job.paths.values()),
                    rows,
                    subject_of,
                    suppressed,
                    progress,
                    self._clock.now(),
                )
                return preparing.run()
        finally:
            with job.lock:
                job.is_preparing = False

    def prepared(self, campaign: int) -> Prepared | None:
        """Return what :meth:`prepare` made, if it has.

        Raises:
            StoreError: it cannot be read, or is damaged.
        """
        with disk_errors("open prepared rows"):
            return Prepared.opened(self._path(campaign))

    def campaigns(self) -> list[int]:
        """Return the numbers of the campaigns that have anything here.

        Raises:
            StoreError: the folder cannot be read.
        """
        with disk_errors("list staged rows"):
            try:
                names = os.listdir(self._folder)
            except FileNotFoundError:
                return []
        bare = {name.removesuffix(_GONE) for name in names}
        return sorted(int(name) for name in bare if _CAMPAIGN.fullmatch(name))

    def forget(self, campaign: int) -> None:
        """Remove the rows of a campaign; does nothing when there are none.

        What became of its finished chunks is kept for a week, durable on return.

        Raises:
            ChunkBusyError: it is being written.
            StoreError: the disk refused.
        """
        path = self._path(campaign)
        try:
            finished = self.chunks(campaign)
        except StagingDamagedError:
            finished = ()
        with self._lock, disk_errors("remove staged rows"):
            job = self._jobs.get(campaign)
            if job is not None and (job.writing or job.is_preparing):
                raise ChunkBusyError("the job is being written")
            if path.is_dir():
                write_results(_results(path), finished)
                remove_old_results(self._folder, self._clock.now())
            gone = path.with_name(path.name + _GONE)
            # Renamed first: a crash never leaves half of a job that looks whole.
            if gone.exists():
                shutil.rmtree(gone)
            if path.exists():
                path.rename(gone)
                sync_folder(self._folder)
            self._jobs.pop(campaign, None)
        with disk_errors("remove staged rows"):
            if gone.exists():
                shutil.rmtree(gone)

    def _path(self, campaign: int) -> Path:
        if not _CAMPAIGN.fullmatch(str(campaign)):
            raise ValueError("no number of a campaign")
        return self._folder / str(campaign)

    @contextmanager
    def _locked(self, campaign: int) -> Iterator[_Job]:
        """Hold what is known of a campaign, read from the disk the first time."""
        path = self._path(campaign)
        with self._lock:
            job = self._jobs.setdefault(campaign, _Job(path))
        with job.lock, disk_errors("read staged rows"):
            if not job.is_read:
                if job.folder.is_dir():
                    job.chunks, job.paths = _chunks_in(job.folder)
                else:
                    results = _results(job.folder)
                    job.chunks = {each.key: each for each in read_results(results)}
                    job.paths = dict.fromkeys(job.chunks, results)
                    job.is_over = bool(job.chunks)
                job.is_read = True
            yield job

    def _opened(self, job: _Job, key: str) -> OpenedChunk:
        known = job.chunks.get(key)
        if known is not None and job.paths[key].suffix != OPEN:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            return OpenedChunk(known, job.paths[key], begin_digest(), descriptor)
        if job.is_over or Prepared.opened(job.folder) is not None:
            raise StagingSealedError("the job is sealed")
        if known is None:
            make_folder(job.folder)
            return open_to_append(create_chunk_file(job.folder, key))
        return open_to_append(job.paths[key])


def _results(folder: Path) -> Path:
    return folder.with_name(folder.name + SUFFIX)


def _chunks_in(folder: Path) -> tuple[dict[str, Chunk], dict[str, Path]]:
    """Return the chunks of a job by key, and their files; reads all of them."""
    chunks, paths = {}, {}
    for each in chunk_files(folder):
        chunk, _ = scan_chunk(each)
        chunks[chunk.key], paths[chunk.key] = chunk, each
    return chunks, paths


class _Ledger:
    """Keeps a job's account of one writer."""

    def __init__(self, limits: StagingLimits, job: _Job, key: str) -> None:
        self._limits = limits
        self._job = job
        self._key = key

    def charge(self, rows: int, octets: int) -> None:
        with self._job.lock:
            job = self._job
            all_rows = rows + sum(chunk.rows_done for chunk in job.chunks.values())
            all_octets = octets + sum(chunk.octets for chunk in job.chunks.values())
            for written_rows, written_octets in job.writing.values():
                all_rows += written_rows
                all_octets += written_octets
            if all_rows > self._limits.rows:
                raise StagingFullError(f"a job has at most {self._limits.rows} rows")
            if all_octets > self._limits.octets:
                raise StagingFullError(
                    f"a job has at most {self._limits.octets} octets of rows"
                )
            require_room(job.folder, self._limits, octets)
            before = job.writing[self._key]
            job.writing[self._key] = (before[0] + rows, before[1] + octets)

    def note(self, chunk: Chunk, path: Path) -> None:
        with self._job.lock:
            self._job.chunks[self._key] = chunk
            self._job.paths[self._key] = path
            self._job.writing[self._key] = (0, 0)

    def release(self) -> None:
        with self._job.lock:
            self._job.writing.pop(self._key, None)
