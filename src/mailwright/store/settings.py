"""What a store needs to know of its node."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A snapshot that is read for long keeps the log from being emptied.
READ_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the database is, and how the store's threads work.

    Attributes:
        path: the SQLite file; made when it is absent. Its folder must exist.
        state_dir: the node's own folder, with ``node.lock``; must exist.
        node: the node's name in the database.
        readers: read-only connections, each on a thread of its own.
        turn_ms: statements of one turn stop after this long, then comes the commit.
        read_limit_s: a snapshot that is read for longer is interrupted.
        ballast_octets: room held back for outcomes; ``None``: 16 MB, or an eighth of a
            smaller file system.
    """

    path: Path
    state_dir: Path
    node: str
    readers: int = 2
    turn_ms: float = 5.0
    read_limit_s: float = READ_LIMIT_S
    ballast_octets: int | None = None
