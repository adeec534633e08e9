"""A job whose rows have their outcomes: the accepted ones in line order, and the rest.

The folder ``prepared`` appears whole: everything in it is synced under another name
first. ``ready.rows`` has sorted runs, merged whenever somebody reads; ``rejects.rows``
lies in the order of the rows; ``summary`` says how many there are.

Everything here blocks.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from mailwright.queue.campaign.chunk_file import StagingDamagedError
from mailwright.queue.campaign.frames import read_frame, read_frames, to_frame
from mailwright.queue.campaign.runs import Run, merge_runs
from mailwright.store.disk_errors import disk_errors

PREPARED: Final = "prepared"
READY: Final = "ready.rows"
REJECTS: Final = "rejects.rows"
SUMMARY: Final = "summary"
_SUMMARY: Final = b"MSp1"
_REJECTS: Final = b"MSj1"


class StagedRow(msgspec.Struct, array_like=True, gc=False):
    """One accepted recipient.

    Attributes:
        row: its number over the whole job, from 1.
        domain: of the address.
        band: how promising it is; 0 first.
        timezone: an IANA name, or empty.
        variant: a name, or empty.
        subject: 16 octets.
        address: canonical.
        fields: a JSON object.
        metadata: a JSON object of texts.
        position: from 1, in the order of (domain, timezone, band, subject).
    """

    row: int
    domain: str
    band: int
    timezone: str
    variant: str
    subject: bytes
    address: str
    fields: bytes
    metadata: str
    position: int = 0


class Reject(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row that is not mailed.

    Attributes:
        row: its number over the whole job, from 1.
        address: canonical; of an invalid row as given, at most 320 characters.
        outcome: which of the three.
        reason: why it is invalid, or what suppressed it and in which scope; empty of a
            duplicate.
    """

    row: int
    address: str
    outcome: Literal["invalid", "duplicate", "suppressed"]
    reason: str = ""


class Summary(msgspec.Struct, frozen=True):
    """What a prepared job has: its rows by outcome, and its runs."""

    rows: int
    accepted: int
    duplicates: int
    invalid: int
    suppressed: int
    runs: list[Run]
    rejects_octets: int


_decode_row: Final = msgspec.msgpack.Decoder(StagedRow).decode
_decode_rejects: Final = msgspec.msgpack.Decoder(list[Reject]).decode
_decode_summary: Final = msgspec.msgpack.Decoder(Summary).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Prepared:
    """Reads a prepared job; any number of readers at a time."""

    def __init__(self, folder: Path, summary: Summary) -> None:
        """Read what is in ``folder``; see :meth:`opened`."""
        self._folder = folder
        self._summary = summary

    @classmethod
    def opened(cls, job: Path) -> "Prepared | None":
        """Return what is prepared in the folder of a job; ``None``: nothing is.

        Raises:
            StagingDamagedError: it cannot be read any more.
            OSError: the system refused.
        """
        folder = job / PREPARED
        try:
            descriptor = os.open(folder / SUMMARY, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            frame = read_frame(descriptor, 0)
        finally:
            os.close(descriptor)
        if frame is None or frame.kind != _SUMMARY:
            raise StagingDamagedError("the summary of prepared rows is damaged")
        return cls(folder, _decode_summary(frame.payload))

    @property
    def rows(self) -> int:
        """How many rows were uploaded: the sum of the four outcomes."""
        return self._summary.rows

    @property
    def row_count(self) -> int:
        """How many rows are recipients: positions 1 to this."""
        return self._summary.accepted

    @property
    def reject_count(self) -> int:
        """How many rows are not mailed."""
        return self._summary.rows - self._summary.accepted

    @property
    def duplicates(self) -> int:
        """How many rows name a subject that an earlier one had."""
        return self._summary.duplicates

    @property
    def invalid(self) -> int:
        """How many rows are bad."""
        return self._summary.invalid

    @property
    def suppressed(self) -> int:
        """How many rows must not be mailed."""
        return self._summary.suppressed

    def records(self, after: int = 0) -> Iterator[StagedRow]:
        """Yield the recipients behind position ``after``, in line order.

        Skipping takes a microsecond or two a row.

        Raises:
            StagingDamagedError: they cannot be read any more.
            StoreError: the disk refused.
        """
        with disk_errors("read prepared rows"):
            descriptor = os.open(self._folder / READY, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                position = after
                merged = merge_runs(descriptor, self._summary.runs)
                for _, value in islice(merged, after, None):
                    position += 1
                    row = _decode_row(value)
                    row.position = position
                    yield row
            finally:
                os.close(descriptor)
        if position < self.row_count:
            raise StagingDamagedError("prepared rows are missing")

    def rejects(self, after: int = 0) -> Iterator[Reject]:
        """Yield the rejects behind the first ``after`` of them, by row.

        Raises:
            StagingDamagedError: they cannot be read any more.
            StoreError: the disk refused.
        """
        end = self._summary.rejects_octets
        at = 0
        left = after
        with disk_errors("read rejected rows"):
            descriptor = os.open(self._folder / REJECTS, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                for frame in read_frames(descriptor, 0, end):
                    at = frame.end
                    if left >= frame.rows:
                        left -= frame.rows
                        continue
                    yield from _decode_rejects(frame.payload)[left:]
                    left = 0
            finally:
                os.close(descriptor)
        if at != end:
            raise StagingDamagedError("rejected rows are missing")


def rejects_frame(rejects: list[Reject]) -> bytes:
    """Return the octets of some rejects."""
    return to_frame(_REJECTS, _encode(rejects), len(rejects))


def summary_frame(summary: Summary) -> bytes:
    """Return the octets of the file ``summary``."""
    return to_frame(_SUMMARY, _encode(summary))
