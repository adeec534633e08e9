"""How far campaigns are: sums once a second, their rates, and their ends.

A campaign is over when nothing of it is queued; the sums are kept with the deliveries, so
a look at a few rows tells, after a crash as well. The end itself is conditional: it is
only written if the sums say so in the very transaction.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from mailwright.clock import Clock, to_micros
from mailwright.ids import CampaignId
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.job import MOVES, Campaign, Doing, JobState
from mailwright.queue.campaign.statements import (
    CANCELLED_TO_THE_END,
    TOTALS_OF_OPEN,
    move_campaign,
)
from mailwright.queue.delivery import State
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Step, Unit

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
#: Over which a rate is taken.
WINDOW_S: Final = 60.0
#: From a shorter one no rate is told.
ENOUGH_S: Final = 3.0


class _Sample(NamedTuple):
    at: float
    ended: int


class Progress:
    """Watches the campaigns of the book."""

    def __init__(
        self,
        store: UnitStore,
        book: CampaignBook,
        clock: Clock,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._look_s = look_s
        self._samples: dict[CampaignId, deque[_Sample]] = {}

    async def run(self) -> None:
        """Look once in a while, until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                logger.warning("the sums of campaigns wait for the store: %s", error)
            await asyncio.sleep(self._look_s)

    async def look(self) -> None:
        """Bring the sums up to date, and end what is over.

        Raises:
            StoreError: some of it is not known yet.
        """
        if not len(self._book):
            self._samples.clear()
            return
        (rows,) = await self._store.read(TOTALS_OF_OPEN())
        self._book.counted((row[0], row[1], row[2], row[3]) for row in rows)
        now = self._clock.steady()
        for campaign in self._book:
            self._sample(campaign, now)
            if campaign.sealed_at is not None and not _queued(campaign.totals):
                await self._end(campaign)
        for gone in [each for each in self._samples if self._book.get(each) is None]:
            del self._samples[gone]

    def per_minute(self, campaign: CampaignId) -> float | None:
        """Return how many deliveries ended a minute lately; ``None``: unknown."""
        samples = self._samples.get(campaign)
        if not samples:
            return None
        first, last = samples[0], samples[-1]
        if last.at - first.at < ENOUGH_S:
            return None
        return (last.ended - first.ended) * 60.0 / (last.at - first.at)

    def _sample(self, campaign: Campaign, now: float) -> None:
        if campaign.state is not JobState.RUNNING:
            # What comes after a rest is not slowed down by it.
            self._samples.pop(campaign.id, None)
            return
        ended = sum(
            count
            for (state, _), count in campaign.totals.items()
            if state != State.QUEUED
        )
        samples = self._samples.setdefault(campaign.id, deque())
        samples.append(_Sample(now, ended))
        while now - samples[0].at > WINDOW_S:
            samples.popleft()

    async def _end(self, campaign: Campaign) -> None:
        now = self._clock.now()
        if campaign.state in MOVES[Doing.FINISH]:
            guard = move_campaign(Doing.FINISH, campaign.id, None, now=now)
        elif campaign.state is JobState.CANCELLED:
            guard = CANCELLED_TO_THE_END(campaign_id=campaign.id, now=to_micros(now))
        else:
            return
        (rows,) = await self._store.run(Unit((Step(guard),)))
        for row in rows:
            over = self._book.took(row)
            logger.info("campaign %d is over: %s", over.id, over.state.value)


def _queued(totals: Mapping[tuple[int, str], int]) -> int:
    return sum(count for (state, _), count in totals.items() if state == State.QUEUED)
