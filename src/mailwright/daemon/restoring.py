"""A backup of a node's state, and a state from a backup.

What a copy calls queued may have been delivered since it was made. So a restored state
starts under a hold of all mail, and it is shown what the copy may send again; a person
cancels what is not to go, and releases the rest.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailwright.clock import Clock
from mailwright.config.node import NodeSettings
from mailwright.daemon.state import (
    DATABASE_NAME,
    check_owner,
    open_state,
    prepare_folder,
)
from mailwright.queue.copies import (
    BODY_NAMES,
    COUNTS,
    NOT_FINAL,
    Again,
    again_of,
)
from mailwright.queue.stopping import Stopping
from mailwright.store.backup import Original, make_backup
from mailwright.store.lock import LOCK_NAME, NodeLock
from mailwright.store.manifest import BackupError, Manifest, Progress, verify
from mailwright.store.restore import discard, is_empty, prepare, put_in_place

logger = logging.getLogger(__name__)

_AUTHOR: Final = "restore"
#: To add up millions of rows; nothing else waits for it.
_READ_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Restored:
    """A state that came from a backup.

    Attributes:
        replaced: the folder with the state that was there before, if one was.
        again: what is held and may be sent a second time.
    """

    manifest: Manifest
    replaced: Path | None
    again: Sequence[Again]


def back_up(
    node: NodeSettings, target: Path, clock: Clock, progress: Progress
) -> Manifest:
    """Copy the state of ``node``, which may be running, into ``target``; blocks.

    Raises:
        StateFolderError: the state is another user's, or there is none.
        BackupError: the folder is not empty, or the database is damaged.
        sqlite3.Error, OSError: something cannot be read or written.
    """
    check_owner(node.state_dir)
    database = node.state_dir / DATABASE_NAME
    if not database.exists():
        raise BackupError(f"there is no database in {node.state_dir}")
    original = Original(database, node.state_dir, node.name, BODY_NAMES, COUNTS)
    return make_backup(original, target.absolute(), clock.now, progress)


async def restore(
    node: NodeSettings,
    backup: Path,
    clock: Clock,
    progress: Progress,
    *,
    replace_state: bool = False,
) -> Restored:
    """Make the state of ``node`` from ``backup``; durable, and held, on return.

    The backup is verified first, and its keys are tried with the node key, before
    anything of the state is touched.

    Raises:
        LockHeldError: the node is running.
        BackupError: it is damaged, or there is a state and ``replace_state`` is false.
        NodeKeyError: the node key is absent, or not the one of the backup.
        StoreError, OSError: something cannot be read or written.
    """
    state_dir = node.state_dir
    database = state_dir / DATABASE_NAME
    await asyncio.to_thread(prepare_folder, state_dir)
    locks = [state_dir / LOCK_NAME, database.with_name(f"{DATABASE_NAME}.lock")]
    with await asyncio.to_thread(NodeLock, locks):
        if not replace_state and not await asyncio.to_thread(
            is_empty, state_dir, database
        ):
            raise BackupError(
                f"{state_dir} holds a state already; --replace moves it aside"
            )
        manifest = await asyncio.to_thread(verify, backup, progress)
        prepared = await asyncio.to_thread(prepare, backup, state_dir, progress)
        try:
            again = await _hold(node, prepared, manifest, clock)
        except BaseException:
            await asyncio.to_thread(discard, prepared)
            raise
        replaced = await asyncio.to_thread(
            put_in_place, prepared, state_dir, database, clock.now()
        )
    return Restored(manifest, replaced, again)


async def _hold(
    node: NodeSettings, prepared: Path, manifest: Manifest, clock: Clock
) -> Sequence[Again]:
    """Stop all mail of the prepared state; return what of it may be sent again."""
    # The database is that of the copy; the key is the node's own.
    aside = node.model_copy(update={"state_dir": prepared, "bootstrap": None})
    async with open_state(aside, clock, read_limit_s=_READ_S) as state:
        stopping = Stopping(state.store, clock, state.store.ids.take)
        await stopping.stop_all(
            reason=f"restored from the backup of {manifest.taken_at}", author=_AUTHOR
        )
        (rows,) = await state.store.read(NOT_FINAL())
        return again_of(rows, state.settings.directory())
