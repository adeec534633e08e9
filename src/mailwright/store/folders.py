"""Folders whose entries are on the disk: a file is only found if its folder says so.

A sync of a file need not make the name durable that it was given (POSIX leaves it open,
and file systems differ): whoever makes or renames a file syncs its folder as well.
Everything here blocks.
"""

import os
from pathlib import Path


def make_folder(folder: Path, *, mode: int = 0o700) -> None:
    """Make ``folder``, for its owner alone, and what is missing above it, durably.

    Raises:
        OSError: it cannot be made, or is no folder.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=0o777)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in ``folder`` are on the disk.

    Raises:
        OSError: it cannot be opened, or the disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
