"""Webhooks on a real store, without a node: a log to write to, and steps to take."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from fakes.queueing import make_directory
from fakes.resolver import FakeResolver
from mailwright.accounts.directory import Directory
from mailwright.accounts.sealing import Sealer
from mailwright.accounts.subjects import SubjectKey
from mailwright.api.webhooks.book import Book, Entry
from mailwright.api.webhooks.delivery import Delivery
from mailwright.api.webhooks.door import WebhookDoor
from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.api.webhooks.ports import Poster
from mailwright.api.webhooks.posting import HttpPoster
from mailwright.api.webhooks.schedule import Result
from mailwright.api.webhooks.schemas import WebhookIn
from mailwright.clock import ManualClock
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.webhook_log import JoinedLog, NodeSeals
from mailwright.daemon.webhooks import Webhooks
from mailwright.events.log import About, write_event
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, DeliveryId, MessageId, TenantId
from mailwright.outbound_http import OutboundHttp
from mailwright.queue.tables import finished_of
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Bound, Urgency, unit
from mailwright.store.store import Store

LOOPBACK = (ip_network("127.0.0.0/8"),)
TENANT = TenantId(1)
SUBJECTS = SubjectKey(b"k" * 32)


class InMemoryPoster:
    """Takes batches as it is told to; every one is kept.

    Attributes:
        sent: (endpoint, webhook-id, ids of its events, whether it was taken).
    """

    def __init__(self, results: Sequence[Result] = ()) -> None:
        self.results = list(results)
        self.sent: list[tuple[int, str, list[str], bool]] = []

    async def post(
        self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
    ) -> Result:
        result = self.results.pop(0) if self.results else Result(200)
        ids = [event["id"] for event in json.loads(body)["data"]]
        self.sent.append((endpoint.id, ident, ids, result.is_taken))
        return result


@dataclass
class Hooking:
    """A log, endpoints, and what brings one to the other."""

    store: Store
    clock: ManualClock
    http: OutboundHttp
    resolver: FakeResolver
    seals: NodeSeals
    within_s: float = 60.0
    poster: Poster | None = None
    make: Callable[..., Delivery] = Delivery
    networks: Sequence[Any] = LOOPBACK
    directory: Callable[[], Directory] = make_directory
    written: list[tuple[str, int, str]] = field(default_factory=list)
    door: WebhookDoor = field(init=False)
    service: Webhooks = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin with nothing in memory, as a node that comes up."""
        book = Book(self.store, self.clock.now)
        reading = EventReading(self.store, SUBJECTS.subject, self.directory)
        log = JoinedLog(self.store, reading)
        poster = self.poster or HttpPoster(
            self.http, self.seals, lambda: self.networks, within_s=self.within_s
        )
        delivery = self.make(book, log, poster, self.clock.now, lambda: 0.0)
        self.door = WebhookDoor(
            book,
            log,
            self.seals,
            delivery,
            self.clock.now,
            self.store.ids.take,
            lambda: self.networks,
        )
        self.service = Webhooks(
            self.door, self.http, self.clock, self.directory, self.store.node
        )

    async def restart(self) -> None:
        self.start()
        await self.service.load()

    async def create(self, url: str, **members: Any) -> tuple[Entry, str]:
        """Make an endpoint; return it and its secret."""
        tenant = members.pop("tenant", TENANT)
        made, secret = await self.door.create(tenant, WebhookIn(url=url, **members))
        return self.door.entry(tenant, made.id), secret

    async def happen(
        self,
        count: int,
        *,
        tenant: int = TENANT,
        recipients: int = 7,
        kind: EventType = EventType.DEFERRED,
        campaign: int | None = None,
        at: datetime | None = None,
        padding: int = 0,
    ) -> None:
        """Let something happen to each recipient in turn."""
        at = at or self.clock.now()
        await self.store.ensure_day(at.date())
        events: list[Bound] = []
        for _ in range(count):
            number = len(self.written) + 1
            delivery = number % recipients + 1
            about = About(
                TenantId(tenant),
                MessageId(1000 + delivery),
                DeliveryId(2000 + delivery),
                SUBJECTS.subject(f"{delivery}@there.example"),
                at.date(),
                None if campaign is None else CampaignId(campaign),
            )
            data = {"n": number, "pad": "x" * padding}
            events.append(write_event(self.store.node, at, kind, about, data))
            self.written.append((f"evt_{self.store.node}_{number}", tenant, kind.value))
        for start in range(0, count, 50):
            some = events[start : start + 50]
            await self.store.run(unit(*some, urgency=Urgency.BULK))

    def ids(self, tenant: int = TENANT, *kinds: EventType) -> list[str]:
        """Return the ids of what happened, in order."""
        return [
            ident
            for ident, whose, kind in self.written
            if whose == tenant and (not kinds or kind in kinds)
        ]

    async def deliver(self, entry: Entry, attempts: int = 1000) -> None:
        """Take steps, as soon as one is due, until all is sent or it is paused."""
        for _ in range(attempts):
            if not entry.endpoint.state.is_live:
                return
            again = await self.door.delivery.step(entry)
            due_at = entry.endpoint.next_attempt_at
            if due_at is not None and due_at > self.clock.now():
                self.clock.advance((due_at - self.clock.now()).total_seconds())
            elif not again:
                return
        raise AssertionError("it does not end")


@asynccontextmanager
async def hooking(folder: Path, **members: Any) -> AsyncIterator[Hooking]:
    """Open a store in ``folder`` and put webhooks on it."""
    # Receivers compare the time with their own.
    clock = ManualClock(members.pop("start", datetime.now(UTC)))
    store = await Store.open(
        StoreSettings(folder / "h.db", folder, "n"),
        clock=clock,
        day_tables=[finished_of, events_of],
    )
    resolver = FakeResolver()
    networks = members.get("networks", LOOPBACK)
    http = OutboundHttp(resolver, lambda: networks)
    try:
        yield Hooking(
            store, clock, http, resolver, NodeSeals(Sealer(b"n" * 32)), **members
        )
    finally:
        await http.close()
        await store.close()
