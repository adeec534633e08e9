"""What programs reach campaigns through, put together: the API's ports, and the lists."""

import asyncio
from collections.abc import Callable

from mailwright.accounts.directory import Directory
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.uploads import Uploads
from mailwright.api.ports import ApiLimits, Budget
from mailwright.clock import Clock
from mailwright.daemon.campaign_rendering import NodeRendering
from mailwright.daemon.campaigns import Campaigns
from mailwright.daemon.list_pulling import ListPulling
from mailwright.mta.admission import Admission
from mailwright.mta.ports import Intake
from mailwright.mta.preparing import Keys
from mailwright.outbound_http import OutboundHttp
from mailwright.store.ports import UnitStore


class CampaignDoors:
    """The API's side of a node's campaigns.

    Attributes:
        admission: of messages, and so of campaigns.
        ports: for the routes, at each of the API's doors.
    """

    def __init__(  # noqa: PLR0913 - the wiring hands collaborators in by keyword
        self,
        *,
        campaigns: Campaigns,
        keys: Keys,
        store: UnitStore,
        directory: Callable[[], Directory],
        admission: Admission,
        intake: Intake,
        budget: Budget,
        clock: Clock,
        hostname: str,
        fresh_id: Callable[[], str],
        limits: Callable[[], ApiLimits],
        http: OutboundHttp,
    ) -> None:
        """``http`` is closed with it."""
        self._http = http
        self.admission = admission
        self._rendering = NodeRendering(campaigns.jobs, keys, store, directory)
        self._uploads = Uploads(campaigns.staging)
        self._pulling = ListPulling(
            campaigns.book,
            campaigns.jobs,
            self._uploads,
            http,
            campaigns.sealing.begin,
        )
        campaigns.wait_for_lists(self._pulling.is_ready, self._pulling.wake)
        self.ports = CampaignPorts(
            jobs=campaigns.jobs,
            templates=campaigns.templates,
            uploads=self._uploads,
            rendering=self._rendering,
            directory=directory,
            admission=admission,
            intake=intake,
            store=store,
            budget=budget,
            clock=clock,
            hostname=hostname,
            fresh_id=fresh_id,
            limits=limits,
        )

    async def run(self) -> None:
        """Read lists, until cancelled."""
        try:
            await self._pulling.run()
        finally:
            await self._http.close()

    async def close(self) -> None:
        """End threads and processes, when nothing is asked any more."""
        await asyncio.to_thread(self._uploads.close)
        self._rendering.close()
