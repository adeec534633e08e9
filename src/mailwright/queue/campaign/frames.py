"""Frames: how staged rows lie in files, so that a torn end is known for what it is.

A frame is a head (kind, counts, length, CRC-32 of everything) and its payload. Files of
frames only grow. Whatever follows the last whole frame was being written when the
power, or the process, went away; it holds nothing that anybody was told of.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEAD: Final = struct.Struct("<4sIIII")  # magic and kind, rows, invalid, octets, CRC
HEAD_OCTETS: Final = _HEAD.size
#: What a payload may have; more is no frame.
PAYLOAD_MAX_OCTETS: Final = 8 << 20

#: Of a chunk's file: its key; rows; the end of a finished one.
KEY: Final = b"MSk1"
ROWS: Final = b"MSr1"
END: Final = b"MSe1"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        kind: four octets.
        rows: how many it has.
        invalid: how many of them are bad.
        end: the offset behind it.
    """

    kind: bytes
    rows: int
    invalid: int
    payload: bytes
    end: int


def to_frame(kind: bytes, payload: bytes, rows: int = 0, invalid: int = 0) -> bytes:
    """Return the octets of a frame."""
    sum_ = _sum(_HEAD.pack(kind, rows, invalid, len(payload), 0), payload)
    return _HEAD.pack(kind, rows, invalid, len(payload), sum_) + payload


def read_frame(descriptor: int, offset: int) -> Frame | None:
    """Return the frame at ``offset``; ``None`` when there is no whole one.

    Raises:
        OSError: the file cannot be read.
    """
    head = os.pread(descriptor, HEAD_OCTETS, offset)
    if len(head) < HEAD_OCTETS:
        return None
    kind, rows, invalid, octets, sum_ = _HEAD.unpack(head)
    if octets > PAYLOAD_MAX_OCTETS:
        return None
    payload = os.pread(descriptor, octets, offset + HEAD_OCTETS)
    if len(payload) < octets:
        return None
    if _sum(_HEAD.pack(kind, rows, invalid, octets, 0), payload) != sum_:
        return None
    return Frame(kind, rows, invalid, payload, offset + HEAD_OCTETS + octets)


def read_frames(
    descriptor: int, offset: int, end: int | None = None
) -> Iterator[Frame]:
    """Yield the whole frames from ``offset`` on, up to ``end``.

    Raises:
        OSError: the file cannot be read.
    """
    while end is None or offset < end:
        frame = read_frame(descriptor, offset)
        if frame is None:
            return
        yield frame
        offset = frame.end


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all of ``octets``.

    Raises:
        OSError: the disk refused; some may have been written.
    """
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _sum(head: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(head))
