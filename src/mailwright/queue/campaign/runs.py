"""Sorting more than fits in memory: runs on the disk, merged as they are read.

Entries are a key and a value, both octets; keys are unique. Each run is sorted by key
and written as small frames; a merge holds one frame of every run. Nothing here keeps
the interpreter for longer than the sort of one run, some milliseconds.

Everything here blocks.
"""

import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from mailwright.queue.campaign.chunk_file import StagingDamagedError
from mailwright.queue.campaign.frames import read_frames, to_frame, write_all

Entry = tuple[bytes, bytes]
#: Where a run begins and ends in its file.
Run = tuple[int, int]

_RUN: Final = b"MSs1"
_RUN_ENTRIES: Final = 16_384
#: A run with long values ends earlier.
_RUN_OCTETS: Final = 16 << 20
_FRAME_ENTRIES: Final = 128

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Entry]).decode
_key: Final = itemgetter(0)


class RunWriter:
    """Writes entries, which come in any order, as sorted runs."""

    def __init__(self, descriptor: int) -> None:
        """Append to the file ``descriptor``, which must be empty."""
        self._descriptor = descriptor
        self._entries: list[Entry] = []
        self._octets = 0
        self._end = 0
        self._runs: list[Run] = []

    def add(self, key: bytes, value: bytes) -> None:
        """Take one entry.

        Raises:
            OSError: the disk refused.
        """
        self._entries.append((key, value))
        self._octets += len(value)
        if len(self._entries) >= _RUN_ENTRIES or self._octets >= _RUN_OCTETS:
            self._write_run()

    def finish(self) -> list[Run]:
        """Return all runs; they are not synced yet.

        Raises:
            OSError: the disk refused.
        """
        if self._entries:
            self._write_run()
        return self._runs

    def _write_run(self) -> None:
        start = self._end
        entries = sorted(self._entries, key=_key)
        self._entries = []
        self._octets = 0
        for first in range(0, len(entries), _FRAME_ENTRIES):
            some = entries[first : first + _FRAME_ENTRIES]
            octets = to_frame(_RUN, _encode(some), len(some))
            write_all(self._descriptor, octets)
            self._end += len(octets)
        self._runs.append((start, self._end))


def merge_runs(descriptor: int, runs: Sequence[Run]) -> Iterator[Entry]:
    """Yield the entries of all runs in the order of their keys.

    Raises:
        StagingDamagedError: the file is not whole.
        OSError: it cannot be read.
    """
    return heapq.merge(*(_read_run(descriptor, run) for run in runs))


def _read_run(descriptor: int, run: Run) -> Iterator[Entry]:
    at, end = run
    for frame in read_frames(descriptor, at, end):
        if frame.kind != _RUN:
            break
        at = frame.end
        yield from _decode(frame.payload)
    if at != end:
        raise StagingDamagedError("a run of prepared rows is damaged")
