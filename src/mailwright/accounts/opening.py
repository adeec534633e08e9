"""From an open store to the settings in force: key, first settings, load.

The node and the commands that work while no node runs go through this one function, so
both set up an empty database alike.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path

from mailwright.accounts import statements
from mailwright.accounts.bootstrap import apply_bootstrap
from mailwright.accounts.keyring import unlock
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.ports import SettingsStore
from mailwright.clock import Clock
from mailwright.config.loading import load_setup
from mailwright.config.node import NodeSettings
from mailwright.errors import MailwrightError

_logger = logging.getLogger(__name__)


class NotSetUpError(MailwrightError):
    """The database is empty and nothing says what to put into it."""


async def open_settings(
    store: SettingsStore,
    node: NodeSettings,
    clock: Clock,
    *,
    supplied_key: Path | None = None,
    known_providers: Callable[[], Collection[str]] | None = None,
) -> LiveSettings:
    """Return the settings in force; first sets up an empty database.

    Setting it up makes the node key and applies the setup file that ``node`` names. It
    is done once: a database that was set up without a setup file would never take one.

    Args:
        store: open, under the node's lock.
        node: the node's settings, from its file (paths are absolute).
        clock: for the instants of rows.
        supplied_key: node key that the service manager hands in, if it does.
        known_providers: names those that have a profile; see :func:`apply_bootstrap`.

    Raises:
        NodeKeyError: the node key is absent, unusable or foreign; exit 2.
        NotSetUpError: the database is empty and no setup file is named; exit 2.
        SettingsError: the setup file, or a file that it names, cannot be used; exit 2.
        StoreError: the store failed.
    """
    [sealed_rows] = await store.read(statements.SELECT_ANY_SEALED())
    if sealed_rows:
        sealer = await unlock(store, node.node_key_file, supplied=supplied_key)
        return await LiveSettings.load(store, sealer)
    if node.bootstrap is None:
        raise NotSetUpError(
            "the database is empty and no setup file is named; add "
            'bootstrap = "setup.toml" to the node\'s settings file'
        )
    # The file is read before the key is made: a wrong one leaves nothing behind.
    setup = await asyncio.to_thread(load_setup, node.bootstrap)
    sealer = await unlock(store, node.node_key_file, supplied=supplied_key)
    base = node.bootstrap.parent
    await apply_bootstrap(store, setup, base, sealer, clock, known_providers)
    _logger.info("the database was set up from %s", node.bootstrap)
    return await LiveSettings.load(store, sealer)
