"""A file of whole lines that others rotate: they rename it and we open a new one."""

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

#: The service's group may read it: collectors do.
_MODE: Final = 0o640


class LineFile:
    """Appends lines, durably and never torn. Blocks: for a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the file, making it if need be; a line that a crash has torn is ended.

        Raises:
            OSError: it cannot be written to, or is no file.
        """
        if self._descriptor is not None:
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(self._path, flags | os.O_CLOEXEC, _MODE)
        try:
            self._end_last_line(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _end_last_line(self, descriptor: int) -> None:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(f"{self._path} is not a regular file")
        if about.st_size and os.pread(descriptor, 1, about.st_size - 1) != b"\n":
            os.write(descriptor, b"\n")

    def append(self, lines: bytes) -> None:
        """Append whole ``lines`` and sync them; on an error none of them stays.

        Raises:
            OSError: they could not be written, the next call opens the file anew.
        """
        self.open()
        descriptor = self._descriptor
        if descriptor is None:
            raise OSError(f"{self._path} is closed")
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; the next line opens it, or a new one, again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
