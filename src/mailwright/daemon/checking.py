"""The quick check of the database after a start: in the background, told to everyone."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from mailwright.daemon.vitals import Readiness, Vitals
from mailwright.store.check import Checked, QuickCheck, mark_damaged

logger = logging.getLogger(__name__)

TOPIC: Final = "database"
_SHOWN: Final = 3


class Checking:
    """One task of a node: checks the database once.

    A node with damage goes on with what it can read, but is not ready; its next start
    is refused.
    """

    def __init__(self, database: Path, readiness: Readiness, vitals: Vitals) -> None:
        self._database = database
        self._readiness = readiness
        self._vitals = vitals

    async def run(self) -> None:
        """Return when everything was looked at, or the time for it was over."""
        began_at = perf_counter()
        try:
            checked = await QuickCheck(self._database).run()
        except sqlite3.Error as error:
            logger.warning("the database was not checked: %s", error)
            return
        self._vitals.is_database_checked = True
        if checked.findings:
            await self._damaged(checked.findings)
        else:
            _tell(checked, perf_counter() - began_at)

    async def _damaged(self, findings: Sequence[str]) -> None:
        self._vitals.is_database_damaged = True
        self._readiness.note(TOPIC, "the database is damaged: restore a backup")
        logger.critical(
            "the database is damaged, restore a backup; the next start is refused: %s",
            "; ".join(findings[:_SHOWN]),
        )
        try:
            await asyncio.to_thread(mark_damaged, self._database, findings)
        except OSError as error:
            logger.warning("the damage could not be written down: %s", error)


def _tell(checked: Checked, took_s: float) -> None:
    logger.info(
        "quick check of the database: %d tables, no damage, %.1f s",
        checked.tables,
        took_s,
    )
    if checked.unfinished:
        logger.info(
            "too large for the quick check, use mailwright db check: %s",
            ", ".join(checked.unfinished),
        )
