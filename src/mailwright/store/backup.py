"""A copy of everything durable, taken while the node runs or rests.

It is made by a process of its own, through one read-only connection. A snapshot is opened
and kept until its last page is copied, so a commit of the node never waits for it, and
the copy is of one instant; the price is that the write-ahead log grows meanwhile
(docs/decisions/0005). Pages are copied some at a time, with a rest after each, so that
the node has the disk to itself at least half of the time.

Bodies are linked first, before the snapshot: one that retention takes away afterwards is
kept by its link. What came in between is linked from the names in the snapshot. If one of
those is gone already, the snapshot is taken again.
"""

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Final

from mailwright import __version__
from mailwright.store.check import DAMAGE
from mailwright.store.folders import sync_folder
from mailwright.store.manifest import (
    BODIES,
    BODY_LIST,
    DATABASE,
    MANIFEST,
    BackupError,
    Body,
    Manifest,
    Progress,
    sum_of,
)
from mailwright.store.sqlite import DIALECT, open_reader
from mailwright.store.statements import Query

#: Copied at once: 1 MB, some milliseconds.
PAGES: Final = 256
#: After each, the disk is left to the node for as long as it took, at most this.
REST_MAX_S: Final = 0.05
#: Octets that the system may hold back before they are written out: so that no sync of
#: the node finds much of ours in its way.
_SYNC_EVERY: Final = 4 << 20
_PAGE_OCTETS: Final = 4096
_SNAPSHOTS: Final = 10
#: Links that are made on the disk of the bodies when the backup goes to another one; the
#: number of the process follows.
_LINKS: Final = "backup-links."

_DAMAGED: Final = "the database is damaged, and so is its copy; keep older backups: "
_FACTS: Final = "SELECT name, value FROM schema_facts"


@dataclass(frozen=True, slots=True)
class Original:
    """What is backed up.

    Attributes:
        database: the SQLite file.
        state_dir: the node's folder, with ``bodies``.
        node: its name.
        body_names: reads the name of every body that a row has.
        counts: count rows, by what these are.
    """

    database: Path
    state_dir: Path
    node: str
    body_names: Query
    counts: Mapping[str, Query]


class _BodyGoneError(Exception):
    """A body went away between the snapshot and its link."""


def make_backup(
    original: Original,
    target: Path,
    now: Callable[[], datetime],
    progress: Progress,
    *,
    rest: Callable[[float], object] | None = None,
) -> Manifest:
    """Copy ``original`` into the folder ``target``; durable on return. Blocks for long.

    Args:
        original: may be in use.
        target: made if it is absent; must be empty.
        now: gives the time of the snapshot.
        progress: told how far it is.
        rest: waits so many seconds; without, the clock's.

    Raises:
        BackupError: the folder is not empty, or the database is damaged.
        sqlite3.Error: the database cannot be read.
        OSError: something cannot be read or written.
    """
    rest = rest or threading.Event().wait  # nobody sets it
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise BackupError(f"{target} is not empty; name a new folder")
    with _links(original.state_dir, target) as links:
        try:
            copied = _copy(original, target, links, now, progress, rest)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in DAMAGE:
                raise
            raise BackupError(_DAMAGED + str(error)) from error
        if links.folder != target / BODIES:
            _copy_bodies(links.folder, target / BODIES, progress)
        _check(target / DATABASE, progress)
        return _seal(target, copied, original.node, progress)


@dataclass(frozen=True, slots=True)
class _Copied:
    taken_at: datetime
    facts: Mapping[str, int]
    counts: Mapping[str, int]


class _Links:
    """Second names of bodies, so that they outlive their first ones."""

    def __init__(self, bodies: Path, folder: Path) -> None:
        self.folder = folder
        self._bodies = bodies
        self._linked: set[str] = set()

    def add_all(self) -> None:
        """Link every body there is; one that goes away meanwhile is left out."""
        for day in _entries(self._bodies):
            for body in _entries(self._bodies / day):
                name = f"{day}/{body}"
                try:
                    self._link(name)
                except FileNotFoundError:
                    continue

    def add(self, name: str) -> None:
        """Link one body, unless it is.

        Raises:
            FileNotFoundError: it is gone.
        """
        if name not in self._linked:
            self._link(name)

    def keep(self, names: set[str]) -> None:
        """Drop the links of all other bodies."""
        for name in self._linked - names:
            (self.folder / name).unlink()
        self._linked &= names

    def _link(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.link(self._bodies / name, path)
        self._linked.add(name)


@contextmanager
def _links(state_dir: Path, target: Path) -> Iterator[_Links]:
    """Give the folder for links: in the backup, or beside the bodies for the time."""
    bodies, final = state_dir / BODIES, target / BODIES
    final.mkdir(mode=0o700)
    if _can_link(state_dir, final):
        yield _Links(bodies, final)
        return
    _sweep_links(state_dir)
    passing = state_dir / f"{_LINKS}{os.getpid()}"
    passing.mkdir(mode=0o700)
    try:
        yield _Links(bodies, passing)
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _sweep_links(state_dir: Path) -> None:
    """Remove the links of backups that were killed."""
    for folder in state_dir.glob(f"{_LINKS}*"):
        pid = folder.name.removeprefix(_LINKS)
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _can_link(state_dir: Path, folder: Path) -> bool:
    """Whether a file of the state folder can have a second name in ``folder``."""
    probe = state_dir / f"backup-probe.{os.getpid()}"
    probe.write_bytes(b"")
    try:
        os.link(probe, folder / "probe")
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
            return False
        raise
    else:
        (folder / "probe").unlink()
        return True
    finally:
        probe.unlink()


def _copy(
    original: Original,
    target: Path,
    links: _Links,
    now: Callable[[], datetime],
    progress: Progress,
    rest: Callable[[float], object],
) -> _Copied:
    """Copy one snapshot of the database, and see that its bodies stay."""
    progress("bodies", 0, 0)
    links.add_all()
    for _ in range(_SNAPSHOTS):
        with closing(open_reader(original.database)) as source:
            source.execute("BEGIN")
            facts = dict(source.execute(_FACTS).fetchall())  # from here it stands still
            taken_at = now()
            try:
                names = _link_named(source, original.body_names, links)
            except _BodyGoneError:
                continue
            counts = {
                name: source.execute(_text(query)).fetchone()[0]
                for name, query in original.counts.items()
            }
            _copy_database(source, target / DATABASE, progress, rest)
        links.keep(names)
        return _Copied(taken_at, facts, counts)
    raise BackupError("bodies that rows name are missing; run: mailwright db check")


def _text(query: Query) -> str:
    return query.compiled(DIALECT).text


def _link_named(source: sqlite3.Connection, named: Query, links: _Links) -> set[str]:
    names = set()
    for (name,) in source.execute(_text(named)):
        names.add(name)
        try:
            links.add(name)
        except FileNotFoundError:
            raise _BodyGoneError from None
    return names


def _copy_database(
    source: sqlite3.Connection,
    path: Path,
    progress: Progress,
    rest: Callable[[float], object],
) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as copy:
            # Synced by us, below: a copy that breaks off is no backup.
            copy.execute("PRAGMA journal_mode = OFF").fetchall()
            copy.execute("PRAGMA synchronous = OFF").fetchall()
            pace = _Pace(descriptor, progress, rest)
            source.backup(copy, pages=PAGES, progress=pace.step)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Pace:
    """Lets the node have the disk after every step."""

    def __init__(
        self, descriptor: int, progress: Progress, rest: Callable[[float], object]
    ) -> None:
        self._descriptor = descriptor
        self._progress = progress
        self._rest = rest
        self._began_at = perf_counter()
        self._unsynced = 0

    def step(self, _status: int, remaining: int, total: int) -> None:
        self._progress(
            "database", (total - remaining) * _PAGE_OCTETS, total * _PAGE_OCTETS
        )
        self._unsynced += PAGES * _PAGE_OCTETS
        if self._unsynced >= _SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._unsynced = 0
        self._rest(min(perf_counter() - self._began_at, REST_MAX_S))
        self._began_at = perf_counter()


def _copy_bodies(folder: Path, target: Path, progress: Progress) -> None:
    names = [
        f"{day}/{each}" for day in _entries(folder) for each in _entries(folder / day)
    ]
    for number, name in enumerate(names, 1):
        (target / name).parent.mkdir(mode=0o700, exist_ok=True)
        copy_synced(folder / name, target / name)
        progress("bodies", number, len(names))


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file, which must not be there yet; its octets are durable on return.

    Raises:
        OSError: it cannot be read or written.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as octets, open(descriptor, "wb") as file:
        shutil.copyfileobj(octets, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _check(path: Path, progress: Progress) -> None:
    """See that the copy is sound: a backup of damage must not pass for a backup."""
    progress("check", 0, 0)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as copy:
        try:
            found = [row[0] for row in copy.execute("PRAGMA quick_check(10)")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    if found != ["ok"]:
        raise BackupError(_DAMAGED + "; ".join(found))


def _seal(target: Path, copied: _Copied, node: str, progress: Progress) -> Manifest:
    """Write the sums and, last of all, the manifest."""
    digest, octets = sum_of(target / DATABASE)
    count = total = 0
    with (target / BODY_LIST).open("x", encoding="ascii") as file:
        for day in _entries(target / BODIES):
            for each in _entries(target / BODIES / day):
                name = f"{day}/{each}"
                body = Body(*sum_of(target / BODIES / name), name)
                file.write(body.to_line())
                count, total = count + 1, total + body.octets
                progress("sums", count, 0)
            sync_folder(target / BODIES / day)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target / BODIES)
    manifest = Manifest(
        __version__,
        copied.facts["version"],
        node,
        copied.taken_at.isoformat(timespec="milliseconds"),
        copied.facts["epoch"],
        copied.counts,
        octets,
        digest,
        count,
        total,
        sum_of(target / BODY_LIST)[0],
    )
    with (target / MANIFEST).open("x") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target)
    sync_folder(target.parent)
    return manifest


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(each for each in os.listdir(folder) if not each.endswith(".new"))
    except (FileNotFoundError, NotADirectoryError):
        return []
