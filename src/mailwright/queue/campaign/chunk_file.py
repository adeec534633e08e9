"""The file of one chunk: its key, frames of rows, and an end when it is finished.

The name says the order of arrival, the key's hash and whether it is finished:
``00000001-<hash>.open`` and ``.done``. No name holds anything that a client chose. A
chunk gets its file under a passing name, so a file in place always has its key; it is
finished by an end frame, a sync, the new name and a sync of the folder.

Everything here blocks.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from mailwright.queue.campaign.frames import (
    END,
    KEY,
    ROWS,
    Frame,
    read_frame,
    read_frames,
    to_frame,
)
from mailwright.queue.campaign.rows import Row
from mailwright.store.folders import sync_folder
from mailwright.store.ports import StoreError

OPEN: Final = ".open"
DONE: Final = ".done"
_PASSING: Final = ".new"
_NUMBER_DIGITS: Final = 8
_NAME: Final = re.compile(r"([0-9]{8})-([0-9a-f]{32})(\.open|\.done)")
_DIGEST_OCTETS: Final = 16
_ARRAY: Final = b"\xdd"  # MessagePack: an array, its length in 32 bits


class StagingDamagedError(StoreError):
    """What was staged and synced cannot be read back any more."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One upload of rows, named by the client's key.

    Attributes:
        key: what the client calls it, unique within the campaign.
        number: from 1, in the order of first arrival.
        rows_done: how many rows are on the disk, good and bad.
        invalid: how many of them are bad.
        is_finished: the whole file has been read.
        digest: of the rows that are done; the same rows give the same, whatever the
            format, the packing and the cuts.
        octets: of its file.
    """

    key: str
    number: int
    rows_done: int = 0
    invalid: int = 0
    is_finished: bool = False
    digest: str = ""
    octets: int = 0

    @property
    def staged(self) -> int:
        """How many rows are good."""
        return self.rows_done - self.invalid


@dataclass(frozen=True, slots=True)
class OpenedChunk:
    """A chunk with its file open.

    Attributes:
        digest: of the rows that are there, to go on with.
        descriptor: open to append; whoever holds this closes it.
    """

    chunk: Chunk
    path: Path
    digest: "hashlib.blake2b"
    descriptor: int


class _End(msgspec.Struct, array_like=True):
    rows: int
    invalid: int
    digest: str


_encode_row: Final = msgspec.msgpack.Encoder().encode_into
_decode_rows: Final = msgspec.msgpack.Decoder(list[Row]).decode
_decode_end: Final = msgspec.msgpack.Decoder(_End).decode


def begin_digest() -> "hashlib.blake2b":
    """Return the digest of no rows."""
    return hashlib.blake2b(digest_size=_DIGEST_OCTETS)


def pack_row(row: Row, into: bytearray) -> None:
    """Append the octets of ``row``; they say where they end."""
    _encode_row(row, into, -1)


def unpack_rows(frame: Frame) -> list[Row]:
    """Return the rows of a frame.

    Raises:
        StagingDamagedError: they are none.
    """
    try:
        return _decode_rows(_ARRAY + frame.rows.to_bytes(4, "big") + frame.payload)
    except msgspec.MsgspecError as error:
        raise StagingDamagedError("a frame of staged rows is damaged") from error


def create_chunk_file(folder: Path, key: str) -> Path:
    """Make the file of a new chunk, durably, and return its path.

    Its number is one above the highest. A file that an earlier call left when the disk
    refused to sync is used again.

    Raises:
        OSError: the system refused.
    """
    hash_ = _key_hash(key)
    files = chunk_files(folder)
    for path in files:
        if path.stem.endswith(hash_):
            sync_folder(folder)
            return path
    number = int(files[-1].name[:_NUMBER_DIGITS]) + 1 if files else 1
    name = f"{number:0{_NUMBER_DIGITS}}-{hash_}{OPEN}"
    passing = folder / (name + _PASSING)
    with open(passing, "wb", opener=_open_private) as file:
        file.write(to_frame(KEY, key.encode()))
        file.flush()
        os.fsync(file.fileno())
    path = folder / name
    passing.rename(path)
    sync_folder(folder)
    return path


def finish_chunk_file(path: Path) -> Path:
    """Give a chunk that has its end, synced, the name of a finished one.

    Raises:
        OSError: the system refused.
    """
    done = path.with_suffix(DONE)
    path.rename(done)
    sync_folder(path.parent)
    return done


def open_to_append(path: Path) -> "OpenedChunk":
    """Open an unfinished chunk where its last whole frame ends.

    A torn end is cut off. What is there is on the disk when this returns: a killed
    process may have left it in memory only. A chunk that only lacks the name of a
    finished one gets it.

    Raises:
        StagingDamagedError: the file is not sound.
        OSError: the system refused.
    """
    chunk, digest = scan_chunk(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_APPEND)
    try:
        if os.fstat(descriptor).st_size > chunk.octets:
            os.ftruncate(descriptor, chunk.octets)
        os.fsync(descriptor)
        if chunk.is_finished:
            path = finish_chunk_file(path)
    except OSError:
        os.close(descriptor)
        raise
    return OpenedChunk(chunk, path, digest, descriptor)


def end_frame(chunk: Chunk) -> bytes:
    """Return the octets that end a chunk's file."""
    end = _End(chunk.rows_done, chunk.invalid, chunk.digest)
    return to_frame(END, msgspec.msgpack.encode(end))


def chunk_files(folder: Path) -> list[Path]:
    """Return the chunks' files in the order of arrival.

    Raises:
        OSError: the folder cannot be read.
    """
    return [
        folder / name for name in sorted(os.listdir(folder)) if _NAME.fullmatch(name)
    ]


def scan_chunk(path: Path) -> tuple[Chunk, "hashlib.blake2b"]:
    """Return what a chunk's file holds, and the digest of its rows to go on with.

    A whole read of the file. ``octets`` ends with the last whole frame; what follows
    is torn, and must be cut off before anything is appended.

    Raises:
        StagingDamagedError: it has no key, or a finished one is not whole.
        OSError: it cannot be read.
    """
    digest = begin_digest()
    rows = invalid = 0
    end: _End | None = None
    chunk = _begun(path)
    octets = chunk.octets
    for frame in _frames(path, octets):
        octets = frame.end
        if frame.kind == END:
            end = _decode_end(frame.payload)
            break
        rows += frame.rows
        invalid += frame.invalid
        digest.update(frame.payload)
    found = replace(
        chunk,
        rows_done=rows,
        invalid=invalid,
        is_finished=end is not None,
        digest=digest.hexdigest(),
        octets=octets,
    )
    is_whole = end == _End(rows, invalid, found.digest)
    if not is_whole and (end is not None or path.suffix == DONE):
        raise StagingDamagedError(f"chunk {chunk.number} is damaged")
    return found, digest


def chunk_rows(path: Path) -> Iterator[list[Row]]:
    """Yield the rows of a finished chunk, some at a time.

    Raises:
        StagingDamagedError: it is not whole any more.
        OSError: it cannot be read.
    """
    chunk = _begun(path)
    rows = 0
    for frame in _frames(path, chunk.octets):
        if frame.kind == END:
            if _decode_end(frame.payload).rows == rows:
                return
            break
        rows += frame.rows
        yield unpack_rows(frame)
    raise StagingDamagedError(f"chunk {chunk.number} is damaged")


def _key_hash(key: str) -> str:
    """Return what a file's name says of a key."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _begun(path: Path) -> Chunk:
    """Return the chunk of a file as if it had no rows yet."""
    named = _NAME.fullmatch(path.name)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        frame = read_frame(descriptor, 0)
    finally:
        os.close(descriptor)
    if named is None or frame is None or frame.kind != KEY:
        raise StagingDamagedError("a chunk's file does not begin with its key")
    return Chunk(frame.payload.decode(), int(named[1]), octets=frame.end)


def _frames(path: Path, offset: int) -> Iterator[Frame]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        for frame in read_frames(descriptor, offset):
            if frame.kind not in {ROWS, END}:
                return
            yield frame
    finally:
        os.close(descriptor)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
