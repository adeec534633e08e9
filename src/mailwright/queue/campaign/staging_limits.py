"""How much one job may take of the disk while its recipients wait to be sealed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mailwright.store.health import Reserve, lacking, read_room
from mailwright.store.ports import StoreFullError

_RESERVE: Final = Reserve(64 << 20)


@dataclass(frozen=True, slots=True)
class StagingLimits:
    """What one job may take.

    Attributes:
        rows: good and bad ones.
        octets: of its chunks' files, and of one upload unpacked. Sealing takes about
            as much again.
        reserve: what stays free on the disk; delivering mail needs it more.
    """

    rows: int = 20_000_000
    octets: int = 16 << 30
    reserve: Reserve = _RESERVE


def require_room(folder: Path, limits: StagingLimits, octets: int) -> None:
    """See that ``octets`` leave the reserve of the disk alone.

    Raises:
        StoreFullError: they do not.
    """
    room = read_room(folder)
    left = replace(room, free_octets=room.free_octets - octets)
    if lacking(left, limits.reserve) is not None:
        raise StoreFullError("the disk has no room for more recipients")
