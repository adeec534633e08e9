"""A disk that loses whatever was not synced, at every point where something is synced.

It watches ``os.fsync``: of a file its octets are safe from then on, of a folder the
names in it. ``survivors`` builds what a power cut would leave: only what was synced, by
the strictest reading of POSIX.
"""

import os
import stat
from pathlib import Path
from typing import Any

import pytest


class PowerCutError(BaseException):
    """The power is gone; nothing catches this on its way out."""


class SyncedDisk:
    """Watches a folder. Cuts the power before the sync number ``cut_at``."""

    def __init__(
        self, folder: Path, cut_at: int | None = None, *, ignores: str = ""
    ) -> None:
        """Watch ``folder``; ``ignores``: "files" or "folders" are not noted (a control)."""
        self.folder = folder
        self.syncs = 0
        self._cut_at = cut_at
        self._ignores = ignores
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._is_folder: dict[int, bool] = {}

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of ``os.fsync``."""
        patch.setattr(os, "fsync", self._on_sync)

    def survivors(self, target: Path) -> None:
        """Build in ``target`` what is left."""
        target.mkdir()
        self._build(self.folder.stat().st_ino, target)

    def _build(self, inode: int, target: Path) -> None:
        for name, inner in self._folders.get(inode, {}).items():
            path = target / name
            if self._is_folder[inner]:
                path.mkdir()
                self._build(inner, path)
            else:
                path.write_bytes(self._files.get(inner, b""))

    def _on_sync(self, descriptor: int) -> None:
        if self.syncs == self._cut_at:
            raise PowerCutError
        self.syncs += 1
        about: Any = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            if self._ignores != "folders":
                self._note_folder(descriptor, about.st_ino)
        elif self._ignores != "files":
            path = Path(f"/proc/self/fd/{descriptor}")
            self._files[about.st_ino] = path.read_bytes()

    def _note_folder(self, descriptor: int, inode: int) -> None:
        names = {}
        for name in os.listdir(descriptor):
            about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            names[name] = about.st_ino
            self._is_folder[about.st_ino] = stat.S_ISDIR(about.st_mode)
        self._folders[inode] = names
