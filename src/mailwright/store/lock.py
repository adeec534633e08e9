"""The node's lock: one process at a time may open a database for writing.

SQLite before 3.51.3 can corrupt a write-ahead log that two connections write or
checkpoint, so the lock is taken before anything else and kept until the last
connection is closed. ``flock`` goes with the process: a killed node leaves none behind.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mailwright.store.ports import StoreError

#: In the node's state folder.
LOCK_NAME: Final = "node.lock"
_PID_OCTETS_MAX: Final = 20


class LockHeldError(StoreError):
    """Another process holds the lock: a node, or a command that opens its database."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} is held by {holder}; stop it first")
        self.path = path
        self.pid = pid


class NodeLock:
    """Exclusive locks on files, held until :meth:`release`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Take all of ``paths`` or none; makes what is absent. Never waits.

        Raises:
            LockHeldError: another process holds one.
            OSError: a file cannot be made or opened.
        """
        self._descriptors: list[int] = []
        try:
            for path in paths:
                self._descriptors.append(_lock(path))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go. The files stay: removing one would let two processes hold "it"."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        written = os.pread(descriptor, _PID_OCTETS_MAX, 0).strip()
        os.close(descriptor)
        pid = int(written) if written.isdigit() else None
        raise LockHeldError(path, pid) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
