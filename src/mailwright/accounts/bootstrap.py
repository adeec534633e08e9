"""First settings: a setup file enters an empty database, in one unit.

The unit also writes the check value and the subject key. Its guard is that nothing is
sealed yet, so it takes effect once in the life of a database, whoever tries again.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from mailwright.accounts import statements
from mailwright.accounts.changes import Authorship
from mailwright.accounts.keyring import CHECK_PLAINTEXT
from mailwright.accounts.ports import SettingsStore
from mailwright.accounts.sealing import Purpose, Sealer
from mailwright.accounts.secret_files import SetupSecrets, read_secret_files
from mailwright.accounts.settings.comparison import Change, compare
from mailwright.accounts.settings.document import document_after
from mailwright.accounts.settings.history import version_of
from mailwright.accounts.settings.present import Inventory
from mailwright.accounts.settings.records import Record, Ref, records_of
from mailwright.accounts.settings.writing import Writing, ids_needed, sealed_row
from mailwright.accounts.subjects import make_subject_key
from mailwright.clock import Clock, to_micros
from mailwright.config.problems import Problem, SettingsError, format_key
from mailwright.config.setup import SetupFile, unknown_providers
from mailwright.store.statements import Bound, Step, Unit

_logger = logging.getLogger(__name__)

#: What an empty database has.
_NOTHING: Final = Inventory(0, {})


async def apply_bootstrap(
    store: SettingsStore,
    setup: SetupFile,
    base: Path,
    sealer: Sealer,
    clock: Clock,
    known_providers: Callable[[], Collection[str]] | None = None,
) -> bool:
    """Put ``setup`` into an empty database; return whether it was one.

    Afterwards the database is set up: version 1 of the settings is in force, durably. On
    a database that was set up before nothing is read, stored or changed. A node without a
    setup file passes an empty ``SetupFile()``.

    Args:
        store: open, under the node's lock.
        setup: checked. Its own ``base`` says nothing here.
        base: folder that relative paths in ``setup`` start at.
        sealer: of the node-set key.
        clock: for the instants of the rows.
        known_providers: names those that have a profile, in a thread; without it none
            is unknown.

    Raises:
        SettingsError: a file that ``setup`` names cannot be used, or it keeps a secret
            that is not there; nothing is stored.
        StoreError: the unit was rolled back; nothing is stored.
    """
    [sealed_rows] = await store.read(statements.SELECT_ANY_SEALED())
    if sealed_rows:
        _logger.info("the database is set up already; the setup file is not applied")
        return False

    def plan() -> tuple[dict[Ref, Record], tuple[Change, ...]]:
        return _planned(setup, read_secret_files(setup, base), base, known_providers)

    wanted, changes = await asyncio.to_thread(plan)
    ids = [store.ids.take() for _ in range(ids_needed(changes) + 2)]
    by = Authorship("bootstrap", "first settings", clock.now())

    def written() -> tuple[Bound, ...]:
        at = to_micros(by.at)
        check, subject, *others = ids
        writing = Writing(wanted, _NOTHING, others, sealer, at)
        return (
            sealed_row(sealer, check, Purpose.CHECK, CHECK_PLAINTEXT, at),
            sealed_row(sealer, subject, Purpose.SUBJECT, make_subject_key(), at),
            *writing.statements(changes),
            version_of(by, changes, document_after(wanted, _NOTHING)),
        )

    rows = await asyncio.to_thread(written)
    unit = Unit((Step(statements.SELECT_ANY_SEALED(), otherwise=rows),))
    [rows_before] = await store.run(unit)
    return not rows_before


def _planned(
    setup: SetupFile,
    secrets: SetupSecrets,
    base: Path,
    known_providers: Callable[[], Collection[str]] | None,
) -> tuple[dict[Ref, Record], tuple[Change, ...]]:
    wanted = records_of(setup, secrets)
    difference = compare(wanted, _NOTHING, lambda ref, present: b"")
    complaints = list(difference.complaints)
    if known_providers is not None:
        complaints += unknown_providers(setup, known_providers)
    if complaints:
        raise SettingsError(
            [
                Problem(base, format_key(each.key), each.what, each.remedy)
                for each in complaints
            ]
        )
    return wanted, difference.changes
