"""A node's durable state, opened in order: folder, lock, store, keys, settings.

The node and the commands that work while no node runs both come through here, so they
agree on where things are and set up an empty database alike.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailwright.accounts.live import LiveSettings
from mailwright.accounts.opening import open_settings
from mailwright.clock import Clock
from mailwright.config.node import NodeSettings
from mailwright.errors import MailwrightError
from mailwright.events.tables import events_of
from mailwright.queue.tables import finished_of
from mailwright.reputation.provider_file import provider_names
from mailwright.store.folders import make_folder
from mailwright.store.settings import READ_LIMIT_S, StoreSettings
from mailwright.store.store import Store

#: The SQLite file, in the node's state folder.
DATABASE_NAME: Final = "mailwright.db"
#: What systemd's ``LoadCredential=`` must call the node key.
_CREDENTIAL_NAME: Final = "node.key"


class StateFolderError(MailwrightError):
    """The state folder cannot be used by this user; the text says what to do."""


@dataclass(frozen=True, slots=True)
class State:
    """What :func:`open_state` opened."""

    store: Store
    settings: LiveSettings


@asynccontextmanager
async def open_state(
    node: NodeSettings, clock: Clock, *, read_limit_s: float = READ_LIMIT_S
) -> AsyncIterator[State]:
    """Open the state of ``node`` under its lock, and close it in the end.

    An empty database is set up from the setup file that ``node`` names. Reads end after
    ``read_limit_s``.

    Raises:
        StateFolderError: the folder cannot be made, or is another user's.
        LockHeldError: a node, or a command like this one, has it open.
        NodeKeyError, NotSetUpError, SettingsError: exit 2; the text says what to do.
        StoreError: the database cannot be opened.
    """
    prepare_folder(node.state_dir)
    settings = StoreSettings(
        node.state_dir / DATABASE_NAME,
        node.state_dir,
        node.name,
        read_limit_s=read_limit_s,
    )
    store = await Store.open(settings, clock=clock, day_tables=(finished_of, events_of))
    try:
        yield State(
            store,
            await open_settings(
                store,
                node,
                clock,
                supplied_key=supplied_node_key(os.environ),
                known_providers=provider_names,
            ),
        )
    finally:
        await store.close()


def supplied_node_key(environ: Mapping[str, str]) -> Path | None:
    """Return the node key that the service manager hands in, if it does.

    Source: systemd.exec(5), "Credentials".
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder) / _CREDENTIAL_NAME
    return path if path.exists() else None


def prepare_folder(state_dir: Path) -> None:
    """Make the state folder, for its owner alone, unless it is there.

    Files that root makes in the folder of a service's user would stop the service, so
    a foreign folder is refused.

    Raises:
        StateFolderError: it cannot be made, or belongs to another user.
    """
    try:
        make_folder(state_dir)
    except OSError as error:
        raise StateFolderError(
            f"the state folder {state_dir} cannot be used: {error.strerror}"
        ) from error
    check_owner(state_dir)


def check_owner(state_dir: Path) -> None:
    """Refuse the state folder of another user: files made in it would be in the way.

    Raises:
        StateFolderError: it is not there, or belongs to another user.
    """
    try:
        owner = state_dir.stat().st_uid
    except OSError as error:
        raise StateFolderError(
            f"the state folder {state_dir} cannot be used: {error.strerror}"
        ) from error
    if owner != os.geteuid():
        raise StateFolderError(
            f"the state folder {state_dir} belongs to another user (uid {owner}); "
            f"run this as that user: sudo -u '#{owner}' mailwright …"
        )
