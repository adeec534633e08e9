"""Lets webhooks run: one task group, a bounded number of batches under way.

Follows the end of the log once a second; an endpoint that has not read up to there gets a
task, for a few batches, then another one has its turn. None of it is in the way of mail: a
slow endpoint holds one of its tenant's places, and nothing else.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count
from random import Random
from typing import Final

from mailwright.accounts.directory import Directory
from mailwright.accounts.sealing import Sealer
from mailwright.api.webhooks.book import Book, Entry
from mailwright.api.webhooks.delivery import Delivery
from mailwright.api.webhooks.door import WebhookDoor
from mailwright.api.webhooks.endpoint import Endpoint, EndpointState, Gap
from mailwright.api.webhooks.posting import HttpPoster
from mailwright.clock import Clock
from mailwright.daemon.event_reading import EventReading
from mailwright.daemon.webhook_log import JoinedLog, NodeSeals
from mailwright.events.position import Position
from mailwright.ids import TenantId
from mailwright.outbound_http import OutboundHttp
from mailwright.resolver import Resolver
from mailwright.routable import Network
from mailwright.store.ports import StoreError
from mailwright.store.statements import Urgency
from mailwright.store.store import Store

logger = logging.getLogger(__name__)

#: How long an event may wait until it is looked for.
LOOK_S: Final = 1.0
#: How old what is known of the end of the log may be when a turn ends: looking there
#: takes a step in every day.
END_S: Final = 0.2
#: Batches under way at once: of all endpoints, and of one tenant's.
IN_FLIGHT: Final = 32
IN_FLIGHT_OF_TENANT: Final = 8
#: Batches in a row of one endpoint before others have their turn.
IN_A_ROW: Final = 20
#: After trouble on our side.
REST: Final = timedelta(seconds=10)
#: How often it is made durable that there was nothing for an endpoint.
KEEP: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WebhooksState:
    """How webhooks are doing.

    Attributes:
        endpoints: how many there are, by state.
        attempts: since the start, by how they ended.
        events: that were taken, since the start.
        behind_s: how long the one that is furthest behind has not caught up.
    """

    endpoints: dict[str, int]
    attempts: dict[str, int]
    events: int
    in_flight: int
    behind_s: float


class Webhooks:
    """Sends events to endpoints while it runs.

    Attributes:
        door: for the routes.
    """

    def __init__(
        self,
        door: WebhookDoor,
        http: OutboundHttp,
        clock: Clock,
        directory: Callable[[], Directory],
        node: int,
    ) -> None:
        self.door = door
        self._http = http
        self._clock = clock
        self._directory = directory
        self._node = node
        self._in_flight: Counter[TenantId] = Counter()
        self._turns = count(1)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_stopping = False
        self._keep_at = clock.now() + KEEP
        door.book.on_change = self._wake.set

    async def load(self) -> None:
        """Read the endpoints.

        Raises:
            StoreError: the store failed.
        """
        await self.door.book.load()

    async def run(self) -> None:
        """Send what there is to send until cancelled, or :meth:`stop`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._follow(tasks)
                await asyncio.Event().wait()  # a service runs until it is cancelled
        finally:
            await self._http.close()

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        end, looked_at = "", -LOOK_S
        while not self._is_stopping:
            self._wake.clear()
            try:
                if loop.time() - looked_at > END_S:
                    end, looked_at = await self.door.log.end(), loop.time()
                self._begin(tasks, end)
                await self._keep_positions()
            except StoreError as error:
                logger.warning("webhooks wait for the store: %s", error)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def stop(self, *, within_s: float) -> None:
        """Begin no more batches and wait for those under way.

        What takes longer is cut short, and sent again after the next start.
        """
        self._is_stopping = True
        self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                while self._in_flight.total():
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            logger.warning("some webhook batches were cut short; they are sent again")

    def statistics(self) -> WebhooksState:
        """Return how it is doing."""
        now, counts = self._clock.now(), self.door.delivery.counts
        states = Counter(each.endpoint.state.value for each in self.door.book)
        behind = [
            (now - each.caught_up_at).total_seconds()
            for each in self.door.book
            if each.endpoint.state.is_live
        ]
        return WebhooksState(
            {state.value: states[state.value] for state in EndpointState},
            dict(counts.attempts),
            counts.events,
            self._in_flight.total(),
            max(behind, default=0.0),
        )

    def _begin(self, tasks: asyncio.TaskGroup, end: str) -> None:
        """Begin what is due, those first that had no turn for longest."""
        now, tenants = self._clock.now(), self._directory().tenants
        for entry in sorted(self.door.book, key=lambda each: each.served):
            endpoint = entry.endpoint
            if self._in_flight.total() >= IN_FLIGHT:
                return
            if (
                entry.is_busy
                or not endpoint.is_due(now)
                or endpoint.tenant not in tenants
                or self._in_flight[endpoint.tenant] >= IN_FLIGHT_OF_TENANT
                or (entry.rests_until is not None and now < entry.rests_until)
            ):
                continue
            if not self._has_work(entry, end):
                entry.caught_up_at = now
                continue
            entry.is_busy = True
            entry.served = next(self._turns)
            self._in_flight[endpoint.tenant] += 1
            tasks.create_task(self._serve(entry), name="webhook")

    def _has_work(self, entry: Entry, end: str) -> bool:
        endpoint = entry.endpoint
        if endpoint.offered or endpoint.gap is not None:
            return True
        return self.door.log.is_behind(entry.reads_after, end)

    async def _serve(self, entry: Entry) -> None:
        """Send some batches to one endpoint."""
        tenant = entry.endpoint.tenant
        try:
            for _ in range(IN_A_ROW):
                if self._is_stopping or not await self.door.delivery.step(entry):
                    break
        except StoreError as error:
            entry.rests_until = self._clock.now() + REST
            logger.warning("webhook %s waits: %s", entry.endpoint.public, error)
        except Exception:
            entry.rests_until = self._clock.now() + KEEP
            logger.exception("webhook %s rests", entry.endpoint.public)
        finally:
            entry.is_busy = False
            self._in_flight[tenant] -= 1
            self._wake.set()
            self._idle.set()

    async def _keep_positions(self) -> None:
        """Make durable now and then that nothing was for an endpoint."""
        now = self._clock.now()
        if now < self._keep_at:
            return
        self._keep_at = now + KEEP
        for entry in self.door.book:
            if entry.seen and not entry.is_busy:
                await self._move(entry, entry.seen)

    async def _move(self, entry: Entry, cursor: str) -> None:
        def moved(endpoint: Endpoint) -> Endpoint:
            is_ahead = self.door.log.is_behind(endpoint.position, cursor)
            if endpoint.offered or not is_ahead:
                return endpoint
            return replace(endpoint, position=cursor)

        await self.door.book.change(
            entry, moved, course=entry.course, urgency=Urgency.BULK
        )

    # -- retention -------------------------------------------------------------------

    def has_unread(self, seq: int) -> bool:
        """Return whether an endpoint has not read the event of this number."""
        return any(
            self._has_not_read(each, seq)
            for each in self.door.book
            if each.endpoint.state is not EndpointState.DISABLED
        )

    async def lose(self, day: date, seq: int) -> None:
        """Prepare endpoints for the loss of a day whose last event is ``seq``.

        Those that have not read it are paused, and told of it when they are resumed.

        Raises:
            StoreError: the day is to be kept.
        """
        until = Position().at(self._node, seq, day).cursor()
        now = self._clock.now()

        def lost(endpoint: Endpoint) -> Endpoint:
            after = endpoint.gap.after if endpoint.gap else endpoint.position
            gap = Gap(after, until, now)
            found = replace(endpoint, position=until, offered="", gap=gap)
            if endpoint.state is EndpointState.DISABLED:
                return found
            return found.paused(
                "events were dropped at the end of their retention before they were"
                " sent; resume to go on after them"
            )

        for entry in self.door.book:
            if not self._has_not_read(entry, seq):
                continue
            await self.door.book.change(entry, lost, is_other_course=True)
            logger.warning("webhook %s lost events: see gap", entry.endpoint.public)

    def _has_not_read(self, entry: Entry, seq: int) -> bool:
        return Position.parse(entry.reads_after).of(self._node)[0] < seq


def webhooks_of(
    store: Store,
    sealer: Sealer,
    reading: EventReading,
    resolver: Resolver,
    clock: Clock,
    directory: Callable[[], Directory],
) -> Webhooks:
    """Put the webhooks of a node together; nothing is read yet."""
    book = Book(store, clock.now)
    log, seals = JoinedLog(store, reading), NodeSeals(sealer)

    def allowed() -> Sequence[Network]:
        return directory().allowed_networks

    http = OutboundHttp(
        resolver,
        allowed,
        user_agent="mailwright-webhooks",
        verify=ssl.create_default_context(),
    )
    delivery = Delivery(
        book,
        log,
        HttpPoster(http, seals, allowed),
        clock.now,
        Random().random,  # noqa: S311 - spreads load, guards nothing
    )
    door = WebhookDoor(book, log, seals, delivery, clock.now, store.ids.take, allowed)
    return Webhooks(door, http, clock, directory, store.node)
