"""Control: what changes of a campaign acts on its lines at once.

Whether a line may go on is asked when its turn comes (:mod:`mailwright.queue.campaign.terms`),
so most changes need nothing but that whoever rests, or is in a lane, is looked at anew:
in slices, since a campaign may have a line for each of tens of thousands of domains. What
sessions hold and have not put on the wire is taken back.

A cancelled campaign becomes a cancellation over its lines, which goes on after a restart;
so does one of which only the state was written. Another pool is a move of its lines.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailwright.attempt import Parcel
from mailwright.clock import Clock
from mailwright.ids import CampaignId, PoolId
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.job import Campaign, JobState
from mailwright.queue.campaign.statements import MOVED
from mailwright.queue.campaign.terms import CampaignTerms
from mailwright.queue.choosing import slices
from mailwright.queue.expiry import Expiry
from mailwright.queue.line import Line
from mailwright.queue.operations import Operations
from mailwright.queue.selection import Selection
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Step, Unit

logger = logging.getLogger(__name__)

#: Lines that are acted on before the loop serves others: a few milliseconds.
LINES_AT_ONCE: Final = 200
#: Lines that are looked at likewise.
_SEEN_AT_ONCE: Final = 2_000
#: How often to look whether a window has shut on what sessions hold.
LOOK_S: Final = 1.0
#: When to try again what the store refused.
_RETRY_S: Final = 1.0
#: Takes back what sessions hold of these parcels and have not put on the wire.
Recall = Callable[[Callable[[Parcel], bool]], None]


def _keep(_concerns: Callable[[Parcel], bool]) -> None:
    """Let sessions offer what they hold."""


@dataclass(frozen=True, slots=True)
class ControlPorts:
    """What :class:`Control` works with.

    Attributes:
        pool_of: returns the pool that a campaign names, or its stream's; ``None`` when
            nobody knows.
        recall_put_off: makes due what waits for a source that a limit had refused.
        recall: see :data:`Recall`.
    """

    store: UnitStore
    campaigns: CampaignBook
    terms: CampaignTerms
    operations: Operations
    expiry: Expiry
    clock: Clock
    pool_of: Callable[[Campaign], PoolId | None]
    recall_put_off: Callable[[], Awaitable[None]]
    recall: Recall = _keep


class Control:
    """Lets changes of campaigns act."""

    def __init__(self, ports: ControlPorts) -> None:
        self._ports = ports
        self._scheduler = ports.operations.scheduler
        self._changed: dict[CampaignId, None] = {}
        self._wake = asyncio.Event()

    def changed(self, campaign: CampaignId) -> None:
        """Note that ``campaign`` is another than before. Never blocks."""
        self._ports.terms.forget(campaign)
        self._changed[campaign] = None
        self._wake.set()

    async def run(self) -> None:
        """Act on changes, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                self._take_back()
                continue
            self._wake.clear()
            changed, self._changed = self._changed, {}
            left = []
            for campaign in changed:
                try:
                    await self.apply(campaign)
                except StoreError as error:
                    logger.warning("a campaign's change has to wait: %s", error)
                    left.append(campaign)
            if left:
                await asyncio.sleep(_RETRY_S)
                for campaign in left:
                    self.changed(campaign)

    async def apply(self, number: CampaignId) -> None:
        """Let what ``number`` says now act on all of its lines.

        Raises:
            StoreError: it acts on a part only.
        """
        campaign = self._ports.campaigns.get(number)
        if campaign is None:
            return
        lines = await self._lines(number)
        if campaign.window is not None:
            zones = {line.key.timezone for line in lines}
            await asyncio.to_thread(self._ports.terms.load_zones, zones)
        for some in slices(lines, LINES_AT_ONCE):
            for line in some:
                self._act(line)
            await asyncio.sleep(0)
        self._take_back()
        if campaign.state is JobState.CANCELLED:
            await self._cancel(campaign)
            return
        await self._move(campaign)
        await self._ports.recall_put_off()
        self._ports.expiry.wake()

    async def _lines(self, number: CampaignId) -> Sequence[Line]:
        found: list[Line] = []
        for some in slices(list(self._ports.operations.book), _SEEN_AT_ONCE):
            found += [line for line in some if line.key.campaign == number]
            await asyncio.sleep(0)
        return found

    def _act(self, line: Line) -> None:
        """Let ``line`` go on, rest or stop, as its campaign and the holds say."""
        scheduler, operations = self._scheduler, self._ports.operations
        now = self._ports.clock.now()
        rest = self._ports.terms.rests(line, now)
        is_held = operations.holds.stops(line, operations.choosing.provider(line))
        if is_held or (rest is not None and rest.until is None):
            scheduler.hold(line)
        elif rest is not None:
            scheduler.hold(line)  # out of its lane
            line.is_held = False
            scheduler.let_rest(line, rest)
        elif line.is_held:
            scheduler.release(line)
        elif line.waits_for_limit:
            scheduler.restart(line)
        else:
            scheduler.on_due(line)

    def _take_back(self) -> None:
        """Take back what sessions hold of lines that may not leave any more."""
        now, terms = self._ports.clock.now(), self._ports.terms

        def may_not_leave(line: Line) -> bool:
            is_ours = line.key.campaign is not None
            return is_ours and (line.is_held or terms.rests(line, now) is not None)

        held = self._scheduler.in_hand(may_not_leave)
        if held:
            self._ports.recall(lambda parcel: parcel.delivery in held)

    async def _cancel(self, campaign: Campaign) -> None:
        selection = Selection(campaign=campaign.id)
        for hold in self._ports.operations.holds:
            if hold.cancels and hold.selection == selection:
                return
        by = (campaign.reason or {}).get("by")
        await self._ports.operations.cancel(
            selection,
            reason=f"campaign {campaign.name} is cancelled",
            author=str(by or "the campaign"),
            owner=campaign.tenant,
        )

    async def _move(self, campaign: Campaign) -> None:
        """Move its lines if another pool was chosen, also before a restart.

        While it is being sealed it gets lines still; they are moved when it is.
        """
        pool = self._ports.pool_of(campaign)
        is_growing = campaign.state is JobState.SEALING
        if not campaign.is_moving or is_growing or pool is None:
            return
        await self._ports.operations.move(Selection(campaign=campaign.id), pool)
        done = MOVED(campaign_id=campaign.id, to_pool=campaign.pool)
        (rows,) = await self._ports.store.run(Unit((Step(done),)))
        for row in rows:
            self._ports.campaigns.took(row)
