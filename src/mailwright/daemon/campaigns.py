"""Campaigns of a node, put together: made here, loaded and run by the lifecycle."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta

from mailwright.accounts.directory import Directory, Stream, StreamClass
from mailwright.bounce import suppression
from mailwright.clock import Clock
from mailwright.ids import CampaignId, PoolId, StreamId, Subject
from mailwright.queue.book import LineBook
from mailwright.queue.campaign.book import CampaignBook, load_campaigns
from mailwright.queue.campaign.job import Campaign
from mailwright.queue.campaign.jobs import Jobs
from mailwright.queue.campaign.ports import JobPorts, SealingPorts
from mailwright.queue.campaign.progress import Progress
from mailwright.queue.campaign.sealing import Sealing
from mailwright.queue.campaign.staging import StagingArea
from mailwright.queue.campaign.storing import StoredContents
from mailwright.queue.campaign.suppressed import suppressed_query
from mailwright.queue.campaign.templates import Templates
from mailwright.queue.campaign.watch import Watch
from mailwright.queue.intake import IntakeSettings
from mailwright.queue.tally import Tally
from mailwright.store.bodies import BodyStore
from mailwright.store.store import Store

_MICROSECOND = timedelta(microseconds=1)


class Campaigns:
    """The parts of a node that know campaigns.

    Attributes:
        book: those that are not over; filled by :meth:`load`.
        contents: of campaigns and templates.
        progress: their rates.
        staging: where uploads lie.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        lines: LineBook,
        bodies: BodyStore,
        book: CampaignBook,
        staging: StagingArea,
        subject_of: Callable[[str], Subject],
        directory: Callable[[], Directory],
        settings: IntakeSettings,
        tally: Tally,
    ) -> None:
        self._store = store
        self._is_ready: Callable[[Campaign], bool] = lambda _campaign: True
        self._wake_lists: Callable[[], None] = lambda: None
        self._directory = directory
        self._settings = settings
        self.book = book
        self.staging = staging
        self.progress = Progress(store, self.book, clock)

        def write_file(day: date, number: int, body: bytes) -> str:
            return bodies.write(day, number, [body])

        self.contents = StoredContents(store, write_file, bodies.read)
        self.sealing = Sealing(
            SealingPorts(
                store=store,
                next_id=store.ids.take,
                clock=clock,
                lines=lines,
                campaigns=self.book,
                staging=staging,
                suppressed=suppressed_query(suppression),
                subject_of=subject_of,
                directory=directory,
                lifetime_micros=lambda stream: self._lifetime(stream) // _MICROSECOND,
                tally=tally,
                is_ready=self._may_seal,
            )
        )
        self.jobs = Jobs(
            JobPorts(
                store=store,
                next_id=store.ids.take,
                clock=clock,
                book=self.book,
                contents=self.contents,
                rates=self.progress,
                lifetime=self.lifetime_of,
                on_sealing=self._begin,
            )
        )
        self._watch = Watch(
            store=store, campaigns=self.book, hold=self.jobs.hold, clock=clock
        )
        self.templates = Templates(store, store.ids.take, clock, self.contents)

    def wait_for_lists(
        self, is_ready: Callable[[Campaign], bool], wake: Callable[[], None]
    ) -> None:
        """Seal only what ``is_ready``; ``wake`` is told that there is more to look at."""
        self._is_ready = is_ready
        self._wake_lists = wake

    def _may_seal(self, campaign: Campaign) -> bool:
        return self._is_ready(campaign)

    def _begin(self, campaign: CampaignId) -> None:
        self.sealing.begin(campaign)
        self._wake_lists()

    def apply(self, settings: IntakeSettings) -> None:
        """Take over new times; they act on what starts from now on."""
        self._settings = settings

    async def load(self) -> None:
        """Read those that are not over.

        Raises:
            StoreError: they cannot be read.
        """
        await load_campaigns(self._store, self.book)
        for campaign in self.book:
            self._begin(CampaignId(campaign.id))

    async def run(self) -> None:
        """Seal and watch, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sealing.run(), name="sealing")
            tasks.create_task(self.progress.run(), name="progress of campaigns")
            tasks.create_task(self._watch.run(), name="watch over campaigns")

    def pool_of(self, campaign: Campaign) -> PoolId | None:
        """Return where mail of ``campaign`` goes; ``None``: its stream is gone."""
        if campaign.pool is not None:
            return campaign.pool
        stream = self._directory().streams.get(campaign.stream)
        return None if stream is None else stream.pool

    def lifetime_of(self, stream: StreamId) -> timedelta:
        """Return for how long mail of ``stream`` is tried."""
        found = self._directory().streams.get(stream)
        return self._settings.expires_bulk if found is None else self._lifetime(found)

    def _lifetime(self, stream: Stream) -> timedelta:
        if stream.stream_class is StreamClass.TRANSACTIONAL:
            return self._settings.expires_transactional
        return self._settings.expires_bulk
