"""Every row gets its outcome; the accepted ones are sorted into lines.

Two passes over the chunks, neither of which keeps rows:

1. Subjects and row numbers are sorted. Of rows with one subject the first wins. The
   winners are asked about, sorted, some thousands at a time. What comes of it is two
   octets for each row of the job, in memory.
2. In the order of rows, each is rejected with its reason or goes into a run of
   (domain, timezone, band, subject).

Memory: 2 octets for each row, one run, one frame of each run. Disk: the subjects (72
octets a row, gone at the end), then about what the chunks take. Runs in a thread of the
node: no step holds the interpreter longer than it takes to sort one run.
"""

import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from mailwright.ids import Subject
from mailwright.queue.campaign.chunk_file import StagingDamagedError, chunk_rows
from mailwright.queue.campaign.frames import write_all
from mailwright.queue.campaign.prepared import (
    PREPARED,
    READY,
    REJECTS,
    SUMMARY,
    Prepared,
    Reject,
    StagedRow,
    Summary,
    rejects_frame,
    summary_frame,
)
from mailwright.queue.campaign.rows import Row, band_of
from mailwright.queue.campaign.runs import Run, RunWriter, merge_runs
from mailwright.store.folders import sync_folder

#: Called with how many rows are done, and how many that is all.
Progress = Callable[[int, int], None]

#: What a row takes of the disk while it is prepared, beside its staged octets: its
#: subject twice, its number, its line, and what frames them.
PREPARED_ROW_OCTETS: Final = 200

_PASSING: Final = ".new"
_SUBJECTS: Final = "subjects"
_SUBJECT_RUNS: Final = "subjects.runs"
_SUBJECT_OCTETS: Final = 16
#: How many subjects one question holds.
_ASKED: Final = 4096
_REJECTS_A_FRAME: Final = 512
_PROGRESS_ROWS: Final = 8192

_DUPLICATE: Final = 1
_FIRST_REASON: Final = 2
_REASONS_MAX: Final = 60_000

_encode: Final = msgspec.msgpack.Encoder().encode


class Preparing:
    """Prepares one job; used once."""

    def __init__(
        self,
        job: Path,
        chunks: Sequence[Path],
        rows: int,
        subject_of: Callable[[str], Subject],
        suppressed: Callable[[Sequence[bytes]], Mapping[bytes, str]],
        progress: Progress,
        now: datetime,
    ) -> None:
        """Prepare the ``rows`` rows of ``chunks``, all finished, in the folder ``job``."""
        self._job = job
        self._chunks = chunks
        self._rows = rows
        self._subject_of = subject_of
        self._suppressed = suppressed
        self._progress = progress
        self._now = now
        self._passing = job / (PREPARED + _PASSING)
        #: What becomes of each row, by its number: 0, a duplicate, or a reason.
        self._fates = array("H", bytes(2 * (rows + 1)))
        self._reasons: dict[str, int] = {}
        self._done = 0

    def run(self) -> Prepared:
        """Prepare the job; what an earlier attempt left is thrown away.

        Raises:
            StagingDamagedError: a chunk is not whole any more.
            OSError: the disk refused.
        """
        shutil.rmtree(self._passing, ignore_errors=True)
        self._passing.mkdir(mode=0o700)
        runs = self._sort_subjects()
        self._decide(runs)
        (self._passing / _SUBJECT_RUNS).unlink()
        summary = self._sort_lines()
        (self._passing / _SUBJECTS).unlink()
        with self._file(SUMMARY) as file:
            write_all(file, summary_frame(summary))
            os.fsync(file)
        sync_folder(self._passing)
        self._passing.rename(self._job / PREPARED)
        sync_folder(self._job)
        return Prepared(self._job / PREPARED, summary)

    def _sort_subjects(self) -> list[Run]:
        subject_of = self._subject_of
        with ExitStack() as files:
            # In the order of rows, so that they are not made twice.
            subjects = files.enter_context((self._passing / _SUBJECTS).open("xb"))
            writer = RunWriter(files.enter_context(self._file(_SUBJECT_RUNS)))
            for number, row in self._numbered():
                if not row.reason:
                    subject = subject_of(row.address)
                    subjects.write(subject)
                    writer.add(subject + number.to_bytes(8, "big"), b"")
            return writer.finish()

    def _decide(self, runs: Sequence[Run]) -> None:
        """Note the fate of every good row."""
        descriptor = os.open(self._passing / _SUBJECT_RUNS, os.O_RDONLY)
        try:
            last = b""
            winners: dict[bytes, int] = {}
            for key, _ in merge_runs(descriptor, runs):
                subject = key[:_SUBJECT_OCTETS]
                number = int.from_bytes(key[_SUBJECT_OCTETS:], "big")
                if subject == last:
                    self._fates[number] = _DUPLICATE
                    continue
                last = subject
                winners[subject] = number
                if len(winners) == _ASKED:
                    self._ask(winners)
                    winners = {}
            if winners:
                self._ask(winners)
        finally:
            os.close(descriptor)

    def _ask(self, winners: Mapping[bytes, int]) -> None:
        for subject, reason in self._suppressed(list(winners)).items():
            fate = self._reasons.setdefault(reason, len(self._reasons) + _FIRST_REASON)
            if fate > _REASONS_MAX:
                raise ValueError("suppressions have too many different reasons")
            self._fates[winners[subject]] = fate

    def _sort_lines(self) -> Summary:
        reasons = {fate: reason for reason, fate in self._reasons.items()}
        counts = {"duplicate": 0, "invalid": 0, "suppressed": 0}
        with ExitStack() as files:
            subjects = files.enter_context((self._passing / _SUBJECTS).open("rb"))
            ready = files.enter_context(self._file(READY))
            rejected = _Rejects(files.enter_context(self._file(REJECTS)))
            writer = RunWriter(ready)
            for number, row in self._numbered():
                if row.reason:
                    rejected.add(Reject(number, row.address, "invalid", row.reason))
                    counts["invalid"] += 1
                    continue
                subject = subjects.read(_SUBJECT_OCTETS)
                fate = self._fates[number]
                if not fate:
                    writer.add(*self._entry(number, row, subject))
                elif fate == _DUPLICATE:
                    rejected.add(Reject(number, row.address, "duplicate"))
                    counts["duplicate"] += 1
                else:
                    reason = reasons[fate]
                    rejected.add(Reject(number, row.address, "suppressed", reason))
                    counts["suppressed"] += 1
            runs = writer.finish()
            os.fsync(ready)
            octets = rejected.finish()
        return Summary(
            self._rows,
            self._rows - sum(counts.values()),
            counts["duplicate"],
            counts["invalid"],
            counts["suppressed"],
            runs,
            octets,
        )

    def _entry(self, number: int, row: Row, subject: bytes) -> tuple[bytes, bytes]:
        band = band_of(row.engaged_at, self._now)
        line = f"{row.domain}\0{row.timezone}\0{band}".encode()
        staged = StagedRow(
            number,
            row.domain,
            band,
            row.timezone,
            row.variant,
            subject,
            row.address,
            row.fields,
            row.metadata,
        )
        # Rows that are written together lie together in the index by subject then.
        return line + subject, _encode(staged)

    def _numbered(self) -> Iterator[tuple[int, Row]]:
        """Yield the rows of all chunks with their numbers, and tell the progress."""
        number = 0
        for path in self._chunks:
            for rows in chunk_rows(path):
                yield from enumerate(rows, number + 1)
                number += len(rows)
                self._tell(len(rows))
        if number != self._rows:
            raise StagingDamagedError("staged rows are missing")

    def _tell(self, rows: int) -> None:
        before = self._done
        self._done += rows
        is_end = self._done in {self._rows, 2 * self._rows}
        if is_end or self._done // _PROGRESS_ROWS > before // _PROGRESS_ROWS:
            self._progress(self._done, 2 * self._rows)

    @contextmanager
    def _file(self, name: str) -> Iterator[int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(self._passing / name, flags, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class _Rejects:
    """Writes rejects, some at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: list[Reject] = []
        self._octets = 0

    def add(self, reject: Reject) -> None:
        self._pending.append(reject)
        if len(self._pending) == _REJECTS_A_FRAME:
            self._write()

    def finish(self) -> int:
        """Sync everything and return how long the file is."""
        if self._pending:
            self._write()
        os.fsync(self._descriptor)
        return self._octets

    def _write(self) -> None:
        octets = rejects_frame(self._pending)
        self._pending = []
        write_all(self._descriptor, octets)
        self._octets += len(octets)
