"""Putting a backup in the place of a state: prepared aside, then renamed.

Nothing of the state is touched before the new one is whole and durable beside it, and
nothing of the old one is deleted: it is moved into a folder of its own. Between the first
rename and the last there is no database; a node that starts then refuses to (see
:mod:`mailwright.store.check`), and the restore is run again.

A restored database goes on under a higher epoch, so that what it says is being sent
counts as ambiguous, and with ids and event numbers far above the copy's: those given out
since the backup are never given again, to nobody's confusion but our own loss.
"""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from mailwright.store.backup import copy_synced
from mailwright.store.check import clear_mark, is_lost, note_made
from mailwright.store.folders import sync_folder
from mailwright.store.log_kept import release_log
from mailwright.store.manifest import (
    BODIES,
    DATABASE,
    BackupError,
    Progress,
    read_bodies,
)
from mailwright.store.sqlite import open_writer

#: Where the new state is prepared, in the state folder.
PREPARED: Final = "restoring"
#: Ids and event numbers that are passed over: more than any node gives in decades.
JUMP: Final = 1 << 40
_SIDES: Final = ("-wal", "-shm")

_EPOCH: Final = "UPDATE schema_facts SET value = value + 1 WHERE name = 'epoch'"
_COUNT: Final = (
    "INSERT INTO schema_facts (name, value) VALUES ('restores', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1"
)
_JUMP: Final = "UPDATE nodes SET ids_end = ids_end + ?, seq = seq + ?"


def is_empty(state_dir: Path, database: Path) -> bool:
    """Whether a state folder holds neither a database nor bodies; blocks."""
    bodies = state_dir / BODIES
    return (
        not database.exists()
        and not is_lost(database)
        and not (bodies.is_dir() and any(bodies.rglob("*/*")))
    )


def prepare(backup: Path, state_dir: Path, progress: Progress) -> Path:
    """Copy a verified backup beside the state and return where; blocks for long.

    The copy is marked as restored. Bodies are linked where that is possible.

    Raises:
        BackupError: the copy is damaged.
        OSError, sqlite3.Error: it cannot be written.
    """
    prepared = state_dir / PREPARED
    discard(prepared)
    (prepared / BODIES).mkdir(mode=0o700, parents=True)
    progress("copy", 0, 0)
    copy_synced(backup / DATABASE, prepared / DATABASE)
    days = set()
    for number, body in enumerate(read_bodies(backup), 1):
        path = prepared / BODIES / body.name
        if path.parent not in days:
            path.parent.mkdir(mode=0o700)
            days.add(path.parent)
        _link_or_copy(backup / BODIES / body.name, path)
        progress("copy", number, 0)
    for day in days:
        sync_folder(day)
    sync_folder(prepared / BODIES)
    _mark_restored(prepared / DATABASE)
    return prepared


def discard(prepared: Path) -> None:
    """Remove what :meth:`prepare` made."""
    if prepared.is_dir():
        shutil.rmtree(prepared)


def put_in_place(
    prepared: Path, state_dir: Path, database: Path, now: datetime
) -> Path | None:
    """Let the prepared state be the state; durable on return.

    The database of ``prepared`` must be closed. Returns the folder with the old state,
    ``None`` if there was none.

    Raises:
        OSError: a rename failed; run the restore again.
    """
    if (prepared / f"{DATABASE}-wal").exists():
        raise BackupError("the prepared database is still in use")
    sides = [database.with_name(database.name + each) for each in ("", *_SIDES)]
    old = [each for each in (*sides, state_dir / BODIES) if each.exists()]
    replaced: Path | None = None
    note_made(database)  # from here on no database means a broken restore
    if old:
        replaced = state_dir / f"replaced-{now:%Y%m%dT%H%M%S%f}Z"
        replaced.mkdir(mode=0o700)
        for each in old:
            each.rename(replaced / each.name)
        release_log(database)  # it went with its database
        sync_folder(replaced)
        sync_folder(state_dir)
    (prepared / BODIES).rename(state_dir / BODIES)
    sync_folder(state_dir)
    (prepared / DATABASE).rename(database)
    sync_folder(state_dir)
    clear_mark(database)
    discard(prepared)
    return replaced


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
            raise
        copy_synced(source, target)


def _mark_restored(database: Path) -> None:
    with closing(open_writer(database)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_EPOCH)
            connection.execute(_COUNT)
            connection.execute(_JUMP, (JUMP, JUMP))
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise BackupError(f"the copy cannot be used: {error}") from error
