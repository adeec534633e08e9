"""What lets people run the node: the settings' administration, and the operator's door.

The door is a Unix socket in the state folder, for root and the node's own user. Commands
use it while the node runs; while it does not, they put the same parts together on the
database that they opened themselves.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mailwright.accounts.proving import Prover
from mailwright.accounts.quotas import Quotas
from mailwright.accounts.settings.administration import Administration
from mailwright.api.app import create_operator_app
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.ports import (
    ApiLimits,
    Budget,
    OperatorPorts,
    QueueDoor,
    SuppressionDoor,
    TimeDoor,
)
from mailwright.api.server import ApiServer
from mailwright.api.sockets import SOCKET_NAME
from mailwright.bounce.suppressing import Suppressions
from mailwright.clock import Clock
from mailwright.daemon.redirection import Redirection
from mailwright.daemon.state import State
from mailwright.ids import CredentialId
from mailwright.mta.dkim import records
from mailwright.queue.book import LineBook
from mailwright.queue.stopping import Stopping
from mailwright.reputation.provider_file import provider_names
from mailwright.resolver import Resolver
from mailwright.store.ports import StoreError, UnitStore

logger = logging.getLogger(__name__)

#: How often the node looks whether another one changed the settings, and counts what
#: is queued.
LOOK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Offices:
    """Who changes the settings and who watches DNS."""

    administration: Administration
    prover: Prover
    ports: OperatorPorts


def open_offices(
    state: State,
    clock: Clock,
    resolver: Callable[[], Resolver],
    budget: Budget,
    limits: Callable[[], ApiLimits] = ApiLimits,
    queue: QueueDoor | None = None,
    time: TimeDoor | None = None,
) -> Offices:
    """Put together what changes the settings of an open state.

    ``queue`` and ``time`` are of the node that runs on it, if one does.
    """
    live = state.settings

    def on_changed() -> None:
        logger.info("settings of version %d are in force", live.directory().version)
        prover.wake()

    administration = Administration(state.store, live, on_changed, provider_names)
    prover = Prover(live, administration, resolver, records, clock)
    store = state.store
    operations = None if queue is None else queue.operations
    stopping = Stopping(store, clock, store.ids.take, operations)
    subject_of = live.keys.subject_key.subject
    suppressions = SuppressionDoor(
        Suppressions(store, clock, subject_of), live.directory
    )
    ports = OperatorPorts(
        administration,
        prover,
        stopping,
        suppressions,
        clock,
        budget,
        limits,
        queue,
        time,
    )
    return Offices(administration, prover, ports)


class Operating:
    """The operator's door, and what keeps a running node's settings up to date."""

    def __init__(
        self,
        offices: Offices,
        state_dir: Path,
        quotas: Quotas,
        book: LineBook,
        redirection: Redirection,
        campaigns: CampaignPorts | None = None,
    ) -> None:
        self.offices = offices
        self._redirection = redirection
        self._quotas = quotas
        self._book = book
        self._server = ApiServer(
            create_operator_app(offices.ports, campaigns), path=state_dir / SOCKET_NAME
        )

    async def load(self, store: UnitStore, now: datetime) -> None:
        """Read what credentials have used, once the lines are known."""
        await self._quotas.load(store, now)
        await self._quotas.count_backlogs(self._queued)

    def _queued(self) -> Iterator[tuple[CredentialId, int]]:
        for line in list(self._book):
            yield line.key.credential, line.count

    async def open(self) -> None:
        """Bind the door.

        Raises:
            OSError: it cannot be had.
        """
        await self._server.open()

    async def run(self) -> None:
        """Run until cancelled; the door until :meth:`stop`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.run(), name="operator's door")
            tasks.create_task(self.offices.prover.run(), name="prover")
            tasks.create_task(self._watch(), name="settings watch")

    async def stop(self) -> None:
        """Close the door; return when requests in progress have ended."""
        await self._server.stop()

    async def _watch(self) -> None:
        while True:
            # Other processes change the database too, and it tells nobody.
            await asyncio.sleep(LOOK_S)
            try:
                await self.offices.administration.take_over()
            except StoreError as error:
                logger.warning("the settings could not be read: %s", error)
            await self._quotas.count_backlogs(self._queued)
            await self._redirection.look()
