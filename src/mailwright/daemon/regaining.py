"""After a full disk: takes mail in and sends it again as soon as there is room."""

import asyncio
import logging
from typing import Final, Protocol

from mailwright.daemon.vitals import Readiness

logger = logging.getLogger(__name__)

#: How often it is looked whether room has come back.
LOOK_S: Final = 2.0
TOPIC: Final = "disk full"


class ShortStore(Protocol):
    """A store that may run out of room."""

    @property
    def is_short(self) -> bool:
        """Whether it did."""
        ...

    async def regain(self) -> bool:
        """Hold room back again; return whether there was any."""
        ...


class Regaining:
    """One task of a node."""

    def __init__(self, store: ShortStore, readiness: Readiness) -> None:
        self._store = store
        self._readiness = readiness

    async def run(self) -> None:
        """Look until cancelled; a look while there is room costs nothing."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Try once to get out of being short of room."""
        if not self._store.is_short:
            return
        if await self._store.regain():
            self._readiness.note(TOPIC, "")
            logger.warning("there is room on the disk again: mail is taken and sent")
        else:
            self._readiness.note(
                TOPIC, "the disk is full: mail gets 452 and 507, and nothing is sent"
            )
