"""Whether the disk has room to accept more: a pure rule, and what reads its input.

Refusing early (452) leaves room for the outcomes of what was accepted: a node that can
no longer record them must stop delivering.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Room:
    """What a file system has, as a process without privileges may use it.

    Attributes:
        free_inodes: how many files may still be made; ``None`` where it is not limited.
    """

    free_octets: int
    total_octets: int
    free_inodes: int | None


@dataclass(frozen=True, slots=True)
class Reserve:
    """What must stay free.

    Attributes:
        octets: at least 1.5 times the largest message that may be on its way in.
        share: of the whole file system, 0 to 1.
        inodes: files that may still be made.
    """

    octets: int
    share: float = 0.05
    inodes: int = 1_000

    def octets_of(self, room: Room) -> int:
        """Return how many octets of ``room`` must stay free."""
        return max(self.octets, int(room.total_octets * self.share))


def read_room(folder: Path) -> Room:
    """Return what the file system of ``folder`` has; one system call, may block.

    Raises:
        OSError: the folder cannot be examined.
    """
    found = os.statvfs(folder)
    return Room(
        free_octets=found.f_bavail * found.f_frsize,
        total_octets=found.f_blocks * found.f_frsize,
        free_inodes=found.f_favail if found.f_files else None,
    )


def lacking(room: Room, reserve: Reserve) -> str | None:
    """Return what ``room`` lacks of ``reserve``, for a log; ``None``: it has room."""
    wanted = reserve.octets_of(room)
    if room.free_octets < wanted:
        return f"{room.free_octets} octets are free, {wanted} must be"
    if room.free_inodes is not None and room.free_inodes < reserve.inodes:
        return f"{room.free_inodes} inodes are free, {reserve.inodes} must be"
    return None
