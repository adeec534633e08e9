"""Sealing: what was uploaded becomes deliveries, in slices that yield to everything else.

Theory of operation. Staging sorts the rows and takes out duplicates and who is
suppressed; its result is files that never change. From then on a *position* in them is
all there is to remember: each slice commits with the position that it reached, and is
guarded by the one that it starts from. Whatever dies, the next start reads the position
and goes on there. Rows are built in threads; the loop only gives ids and lines, and a few
slices are on their way to the store at any time, so that it never waits for us.

Nothing leaves before the seal is done: the scheduler lets lines of a campaign rest that
does not run.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from mailwright.clock import to_micros
from mailwright.errors import MailwrightError
from mailwright.ids import CampaignId
from mailwright.queue.campaign.chunk_file import StagingDamagedError
from mailwright.queue.campaign.job import (
    TAKES_UPLOADS,
    Campaign,
    Doing,
    JobState,
)
from mailwright.queue.campaign.ports import Prepared, SealingPorts
from mailwright.queue.campaign.slices import REJECTS_SLICE, rejects_unit
from mailwright.queue.campaign.statements import BEGIN_SEAL, move_campaign
from mailwright.queue.campaign.storing import read_size
from mailwright.queue.campaign.suppressed import suppressed_among
from mailwright.queue.campaign.writing import Writing, take_some
from mailwright.store.ports import StoreError
from mailwright.store.statements import Step, Unit

logger = logging.getLogger(__name__)

#: Seals that share the store: a small one does not wait for a large one.
AT_ONCE: Final = 2
#: How soon a seal goes on that the store has refused.
AGAIN_S: Final = 2.0


_NEEDS_UPLOADS: Final = TAKES_UPLOADS | {JobState.SEALING}


class StoppedError(MailwrightError):
    """The node stops; the next start goes on."""


class UploadsLostError(MailwrightError):
    """Only a part has deliveries, and the rest of what was uploaded is gone."""

    def __init__(self) -> None:
        super().__init__("what was uploaded is not there any more")


class Sealing:
    """Seals campaigns, :data:`AT_ONCE` at a time."""

    def __init__(self, ports: SealingPorts) -> None:
        self._ports = ports
        self._store = ports.store
        self._wake = asyncio.Event()
        self._stopping = threading.Event()
        self._under_way: set[CampaignId] = set()

    def begin(self, _campaign: CampaignId) -> None:
        """Note that there is one to be sealed, or whose uploads are of no use."""
        self._wake.set()

    async def run(self) -> None:
        """Seal what is to be sealed, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wake.clear()
                    await self._sweep()
                    for campaign in self._ports.campaigns:
                        if self._is_next(campaign):
                            self._under_way.add(campaign.id)
                            tasks.create_task(self._one(campaign.id), name="seal")
                    await self._wake.wait()
        finally:
            self._stopping.set()

    def _is_next(self, campaign: Campaign) -> bool:
        return (
            campaign.state is JobState.SEALING
            and campaign.id not in self._under_way
            and len(self._under_way) < AT_ONCE
            and self._ports.is_ready(campaign)
        )

    async def _one(self, campaign: CampaignId) -> None:
        try:
            if not await self._try(campaign):
                await asyncio.sleep(AGAIN_S)
        finally:
            self._under_way.discard(campaign)
            self._wake.set()

    async def _try(self, campaign: CampaignId) -> bool:
        """Seal a campaign; return false when it has to be tried again."""
        try:
            await self.seal(campaign)
        except StoppedError:
            return True
        except StagingDamagedError as error:
            logger.exception("campaign %d cannot be sealed", campaign)
            return await self._fail(campaign, str(error))
        except StoreError as error:
            logger.warning("the seal of campaign %d waits: %s", campaign, error)
            return False
        except (MailwrightError, OSError, LookupError) as error:
            logger.exception("campaign %d cannot be sealed", campaign)
            return await self._fail(campaign, str(error))
        return self._sealing(campaign) is None

    async def _fail(self, campaign: CampaignId, reason: str) -> bool:
        try:
            await self._move(Doing.FAIL, campaign, {"reason": reason})
        except StoreError as error:
            logger.warning("campaign %d has not failed yet: %s", campaign, error)
            return False
        return True

    async def seal(self, ident: CampaignId) -> None:
        """Make deliveries of what was uploaded; durable on return.

        Goes on where an earlier one ended. Ends early when the campaign is not sealed
        any more: somebody cancelled it.

        Raises:
            StoreError: only a part is written; call it again.
            MailwrightError, OSError, LookupError: what was uploaded cannot be had.
        """
        campaign = self._sealing(ident)
        if campaign is None:
            return
        stream = self._ports.directory().streams[campaign.stream]
        prepared = await asyncio.to_thread(self._prepare, campaign, self._loop())
        if campaign.sealed_at is None:
            await self._begin(campaign, prepared.row_count)
        elif campaign.row_count != prepared.row_count:
            raise UploadsLostError  # a restored database, and not what lay beside it
        await self._write_rejects(ident, prepared)
        octets = await read_size(self._store, campaign.content)
        await Writing(self._ports, ident, stream, prepared, octets).run()
        lifetime = self._ports.lifetime_micros(stream)
        if await self._move(Doing.SEALED, ident, None, lifetime):
            await asyncio.to_thread(self._ports.staging.forget, ident)

    def _sealing(self, ident: CampaignId) -> Campaign | None:
        campaign = self._ports.campaigns.get(ident)
        if campaign is None or campaign.state is not JobState.SEALING:
            return None
        return campaign

    @staticmethod
    def _loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _prepare(self, campaign: Campaign, loop: asyncio.AbstractEventLoop) -> Prepared:
        """Let staging sort the rows; runs in a thread."""

        def suppressed(subjects: Sequence[bytes]) -> Mapping[bytes, str]:
            self._check_stopping()
            reading = suppressed_among(
                self._store,
                self._ports.suppressed,
                subjects,
                campaign.tenant,
                campaign.stream,
                self._ports.clock.now(),
            )
            return asyncio.run_coroutine_threadsafe(reading, loop).result()

        def progress(_done: int, _total: int) -> None:
            self._check_stopping()

        return self._ports.staging.prepare(
            campaign.id, self._ports.subject_of, suppressed, progress
        )

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise StoppedError

    async def _begin(self, campaign: Campaign, positions: int) -> None:
        now = to_micros(self._ports.clock.now())
        guard = BEGIN_SEAL(campaign_id=campaign.id, now=now, positions=positions)
        for row in (await self._store.run(Unit((Step(guard),))))[0]:
            self._ports.campaigns.took(row)

    async def _write_rejects(self, ident: CampaignId, prepared: Prepared) -> None:
        campaign = self._sealing(ident)
        if campaign is None:
            return
        after = campaign.sealed_rejects
        rejects = prepared.rejects(after)
        while some := await asyncio.to_thread(take_some, rejects, REJECTS_SLICE):
            counts = Counter(each.outcome for each in some)
            if not (await self._store.run(rejects_unit(campaign, after, some)))[0]:
                return
            after += len(some)
            self._ports.campaigns.rejected(ident, after, counts)

    async def _move(
        self,
        doing: Doing,
        campaign: CampaignId,
        why: Mapping[str, object] | None,
        lifetime_micros: int = 0,
    ) -> bool:
        guard = move_campaign(
            doing,
            campaign,
            None,
            now=self._ports.clock.now(),
            lifetime_micros=lifetime_micros,
            why=why,
        )
        (rows,) = await self._store.run(Unit((Step(guard),)))
        for row in rows:
            self._ports.campaigns.took(row)
        return bool(rows)

    async def _sweep(self) -> None:
        """Remove uploads of campaigns that have been sealed, or are over."""
        try:
            staged = await asyncio.to_thread(self._ports.staging.campaigns)
            for number in staged:
                known = self._ports.campaigns.get(CampaignId(number))
                if known is None or known.state not in _NEEDS_UPLOADS:
                    await asyncio.to_thread(self._ports.staging.forget, number)
        except (StoreError, OSError) as error:
            logger.warning("uploads are not removed yet: %s", error)
