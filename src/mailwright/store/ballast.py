"""The ballast: room on the disk that is held back for the outcomes of what is in flight.

Theory of operation. A file of allocated blocks lies in the state folder. The first write
that finds no room gives it up, so that what was accepted and offered can still be
recorded; from then on, until the file can be made again, units that take in something
new are refused (:attr:`mailwright.store.statements.Unit.grows`) and nothing is claimed.
"""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

BALLAST_NAME: Final = "ballast"
#: Outcomes of some thousand deliveries, twice over: in the log and in the database.
BALLAST_OCTETS: Final = 16_000_000
#: A small file system gives no larger share than this.
_MOST_OF_DISK: Final = 8


class Ballast:
    """One file; its methods may be called on any thread, and block."""

    def __init__(self, folder: Path, octets: int | None = None) -> None:
        """Hold back ``octets`` in ``folder``; :meth:`keep` does it.

        Without ``octets``: 16 MB, but at most an eighth of the file system.
        """
        self._path = folder / BALLAST_NAME
        if octets is None:
            found = os.statvfs(folder)
            octets = min(
                BALLAST_OCTETS, found.f_blocks * found.f_frsize // _MOST_OF_DISK
            )
        self._octets = octets
        self._lock = threading.Lock()
        self._is_kept = False

    @property
    def is_kept(self) -> bool:
        """Whether the room is held back; false: the disk was full a moment ago."""
        return self._is_kept

    def keep(self) -> bool:
        """Hold the room back unless it is; return whether it is.

        What is there of an earlier start is completed. A file system that copies on
        write (btrfs, zfs) promises less than this asks for.
        """
        with self._lock:
            if self._is_kept:
                return True
            try:
                self._allocate()
            except OSError as error:
                logger.debug("no room for the ballast: %s", error)
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
            else:
                self._is_kept = True
            return self._is_kept

    def give_up(self) -> bool:
        """Free the room; return whether there was any to free."""
        with self._lock:
            if not self._is_kept:
                return False
            self._is_kept = False
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            return True

    def _allocate(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o600)
        try:
            os.posix_fallocate(file, 0, self._octets)
            os.fsync(file)
        finally:
            os.close(file)
