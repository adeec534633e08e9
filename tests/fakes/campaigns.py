"""Campaigns on a real store, without the rest of a node."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from fakes.queueing import days_tables
from mailwright.clock import Clock, SystemClock
from mailwright.ids import (
    CampaignId,
    CredentialId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.campaign.book import CampaignBook, load_campaigns
from mailwright.queue.campaign.job import NewCampaign
from mailwright.queue.campaign.jobs import Jobs
from mailwright.queue.campaign.ports import JobPorts
from mailwright.queue.campaign.storing import StoredContents
from mailwright.queue.campaign.templates import Templates
from mailwright.store.bodies import BodyStore
from mailwright.store.ports import UnitStore
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store

TENANT = TenantId(1)
OTHER = TenantId(2)
LIFETIME = timedelta(days=3)


def new_campaign(**changes: object) -> NewCampaign:
    values: dict[str, object] = {
        "tenant": TENANT,
        "credential": CredentialId(1),
        "stream": StreamId(1),
        "sending_domain": SendingDomainId(1),
        "selector": "s1",
        "reverse_path": "bounces@example.com",
        "content": b'{"subject":"hi"}',
        "name": "spring",
        "spec": {"subject": "hi"},
    }
    return NewCampaign(**(values | changes))


class NoRates:
    def per_minute(self, campaign: CampaignId) -> float | None:
        return None


@dataclass
class Campaigns:
    """The parts that answer programs."""

    store: UnitStore
    clock: Clock
    book: CampaignBook
    jobs: Jobs
    templates: Templates
    contents: StoredContents
    to_seal: list[CampaignId] = field(default_factory=list)
    changed: list[CampaignId] = field(default_factory=list)
    sealers: list[Callable[[CampaignId], None]] = field(default_factory=list)

    def on_sealing(self, begin: Callable[[CampaignId], None]) -> None:
        self.sealers.append(begin)


async def campaigns_on(
    store, next_id, clock: Clock, folder: Path, book: CampaignBook | None = None
) -> Campaigns:
    (folder / "bodies").mkdir(exist_ok=True)
    bodies = BodyStore(folder / "bodies")
    contents = StoredContents(
        store,
        lambda day, number, body: bodies.write(day, number, [body]),
        bodies.read,
    )
    book = CampaignBook() if book is None else book
    await load_campaigns(store, book)
    to_seal: list[CampaignId] = []
    sealers: list[Callable[[CampaignId], None]] = [to_seal.append]
    changed: list[CampaignId] = []
    book.on_change = changed.append
    ports = JobPorts(
        store=store,
        next_id=next_id,
        clock=clock,
        book=book,
        contents=contents,
        rates=NoRates(),
        lifetime=lambda stream: LIFETIME,
        on_sealing=lambda ident: [each(ident) for each in sealers],
    )
    templates = Templates(store, next_id, clock, contents)
    return Campaigns(
        store, clock, book, Jobs(ports), templates, contents, to_seal, changed, sealers
    )


@asynccontextmanager
async def open_campaigns(
    folder: Path, clock: Clock | None = None
) -> AsyncIterator[Campaigns]:
    clock = clock or SystemClock()
    store = await Store.open(
        StoreSettings(folder / "q.db", folder, "n1"),
        clock=clock,
        day_tables=days_tables(),
    )
    try:
        yield await campaigns_on(store, store.ids.take, clock, folder)
    finally:
        await store.close()
