"""What webhooks are given of the node: the log as tenants read it, and sealed secrets."""

from datetime import datetime
from typing import Final

from mailwright.accounts.sealing import Purpose, Sealer, Secret
from mailwright.api.ports import EventFilter
from mailwright.api.webhooks.ports import Portion
from mailwright.api.webhooks.statements import CAMPAIGN_MADE
from mailwright.clock import from_micros
from mailwright.daemon.event_reading import EventReading
from mailwright.events.following import (
    after_event,
    cursor_before,
    end_of_log,
    read_after,
)
from mailwright.events.position import Position
from mailwright.ids import Kind, TenantId, format_public, parse_public
from mailwright.store.store import Store

#: Of the log that is looked at to count what waits.
_COUNTED_SLICES: Final = 10


class JoinedLog:
    """The event log as webhooks read it. Implements ``api.webhooks.ports.EventLog``."""

    def __init__(self, store: Store, reading: EventReading) -> None:
        self._store = store
        self._reading = reading

    async def read(
        self,
        tenant: TenantId,
        wanted: EventFilter,
        *,
        after: str,
        limit: int,
        until: str | None = None,
    ) -> Portion:
        """Return up to ``limit`` events after a cursor, and none after ``until``."""
        page = await read_after(
            self._store,
            after,
            self._reading.filter_of(tenant, wanted),
            limit=limit,
            days=self._store.days(),
            until=until,
        )
        records = await self._reading.records(page.events) if page.events else []
        position = Position.parse(after)
        cursors = [after_event(position, event) for event in page.events]
        found = list(zip(records, cursors, strict=True))
        return Portion(found, page.cursor, page.is_end)

    async def end(self) -> str:
        """Return the cursor after the last event."""
        return await end_of_log(self._store, self._store.days())

    async def since(self, at: datetime) -> str:
        """Return a cursor before all that happened from ``at`` on."""
        return await cursor_before(self._store, at, self._store.days())

    async def count(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, up_to: int
    ) -> tuple[int, datetime | None]:
        """Return how many events follow a cursor, up to a number, and when the first was."""
        page = await read_after(
            self._store,
            after,
            self._reading.filter_of(tenant, wanted),
            limit=up_to,
            days=self._store.days(),
            max_slices=_COUNTED_SLICES,
        )
        return len(page.events), page.events[0].at if page.events else None

    def is_behind(self, cursor: str, end: str) -> bool:
        """Return whether anything lies between ``cursor`` and the cursor ``end``."""
        node = self._store.node
        return Position.parse(cursor).of(node)[0] < Position.parse(end).of(node)[0]

    async def has_campaign(self, tenant: TenantId, public: str) -> bool:
        """Return whether ``public`` is the id of a campaign of ``tenant``."""
        ident = parse_public(public, Kind.CAMPAIGN)
        number = 0 if ident is None else ident.number
        [rows] = await self._store.read(CAMPAIGN_MADE(campaign=number, tenant=tenant))
        return any(
            format_public(Kind.CAMPAIGN, from_micros(row[0]), number) == public
            for row in rows
        )


class NodeSeals:
    """Seals secrets with the node key, each for its own endpoint."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, endpoint: int, secret: Secret) -> bytes:
        """Return the secret of an endpoint, sealed."""
        return self._sealer.seal(f"{Purpose.WEBHOOK}:{endpoint}", secret.reveal())

    def open(self, endpoint: int, sealed: bytes) -> Secret:
        """Return a sealed secret.

        Raises:
            SealError: it was sealed with another key, or for another endpoint.
        """
        return Secret(self._sealer.open(f"{Purpose.WEBHOOK}:{endpoint}", sealed))
