"""Bodies that are too large for a row: files in a folder for each day.

A body is durable before the row that names it is handed in: its octets are synced under
a passing name, the file is renamed, and the folder is synced (and the folder above it,
the first time). So a row never names a body that a power cut took. The other way round
is harmless: a body without a row is an orphan, which :meth:`BodyStore.sweep` removes.

Everything here blocks; call it from threads.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final

from mailwright.store.disk_errors import disk_errors
from mailwright.store.folders import sync_folder
from mailwright.store.ports import StoreError

#: Bodies of more octets are files; smaller ones lie in the row.
IN_ROW_MAX_OCTETS: Final = 64 << 10

_NAME: Final = re.compile(r"[0-9]{8}/[0-9a-f]{16}")
_DAY: Final = re.compile(r"[0-9]{8}")
_FILE: Final = re.compile(r"([0-9a-f]{16})(\.new)?")
_PASSING: Final = ".new"
#: How many names one question to the database holds.
_SWEEP_BATCH: Final = 500


class BodyNameError(StoreError, ValueError):
    """The text is no name that this store gave."""


class BodyMissingError(StoreError):
    """A row names a body that is not there."""


class BodyStore:
    """The folder of bodies of one node."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which must exist, and be nobody else's."""
        self._folder = folder
        self._lock = threading.Lock()
        self._synced_days: set[str] = set()

    def write(self, day: date, number: int, chunks: Iterable[bytes]) -> str:
        """Keep the octets of ``chunks`` under a new name and return it, durable.

        Args:
            day: the UTC day on which the message was accepted.
            number: the content's id; never used before.
            chunks: the body in order; the caller has limited its length.

        Raises:
            StoreFullError: no room; nothing is left behind.
            StoreFailedError: the disk failed; the store must not be used any more.
            StoreError: the system refused for another reason.
        """
        name = f"{day:%Y%m%d}/{number:016x}"
        path = self._folder / name
        passing = path.with_name(path.name + _PASSING)
        with disk_errors("write body"):
            self._ensure_folder(path.parent)
            try:
                _write_synced(passing, chunks)
                passing.rename(path)
            except BaseException:
                with suppress(OSError):
                    passing.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
        return name

    def read(self, name: str) -> bytes:
        """Return the body of ``name``.

        Raises:
            BodyNameError: no name of ours.
            BodyMissingError: there is no such body.
            StoreError: it cannot be read.
        """
        path = self._path(name)
        with disk_errors("read body"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise BodyMissingError(f"no body {name}") from None

    def remove(self, name: str) -> None:
        """Remove the body of ``name``, if it is there. Its row must be gone for good.

        Raises:
            BodyNameError: no name of ours.
            StoreError: it cannot be removed.
        """
        path = self._path(name)
        with disk_errors("remove body"):
            path.unlink(missing_ok=True)

    def sweep(self, known: Callable[[list[str]], set[str]], *, below: int) -> int:
        """Remove the bodies of earlier starts that no row names; return how many.

        Args:
            known: returns those of the given names that rows hold.
            below: the first id of this start; a body with a higher one may be about to
                get its row, and is left alone.

        Raises:
            StoreError: the system refused.
        """
        swept = 0
        with disk_errors("sweep bodies"):
            for folder in sorted(self._folder.iterdir()):
                if _DAY.fullmatch(folder.name) and folder.is_dir():
                    swept += _sweep_day(folder, known, below)
        return swept

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BodyNameError("no name of a body")
        return self._folder / name

    def _ensure_folder(self, folder: Path) -> None:
        """Make the folder of a day; its entry is durable when this returns."""
        with self._lock:  # a second writer must not go on before the entry is synced
            if folder.name in self._synced_days:
                return
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder)
            self._synced_days.add(folder.name)


def _write_synced(path: Path, chunks: Iterable[bytes]) -> None:
    with open(path, "wb", opener=_open_private) as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _sweep_day(folder: Path, known: Callable[[list[str]], set[str]], below: int) -> int:
    """Remove the orphans of one day; return how many."""
    old = [
        match
        for name in sorted(os.listdir(folder))
        if (match := _FILE.fullmatch(name)) and int(match[1], 16) < below
    ]
    # A passing name never has a row: its writer died before the rename.
    orphans = {match[0] for match in old if match[2]}
    names = [match[0] for match in old if not match[2]]
    for first in range(0, len(names), _SWEEP_BATCH):
        batch = [f"{folder.name}/{n}" for n in names[first : first + _SWEEP_BATCH]]
        kept = known(batch)
        orphans.update(
            name[len(folder.name) + 1 :] for name in batch if name not in kept
        )
    for name in orphans:
        (folder / name).unlink(missing_ok=True)
    return len(orphans)
