"""All endpoints of the node: in memory, and each change of one in the database first.

What happens to one endpoint happens in turn. A batch that is under way while its endpoint
is moved elsewhere, or asked for other events, does not move it back: each such change
starts another *course*, and what was begun in an earlier one counts no more.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mailwright.api.webhooks.endpoint import Endpoint, endpoint_of, row_of
from mailwright.api.webhooks.statements import ADD, ALL, DELETE, SAVE
from mailwright.ids import TenantId, WebhookId
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Urgency, unit

#: Of one tenant; each reads the log by itself. Enough for one for each campaign at once.
MAX_ENDPOINTS: Final = 100


@dataclass(slots=True, eq=False)
class Entry:
    """An endpoint and what is known of it while the node runs.

    Attributes:
        endpoint: as it is in the database.
        course: grows when it is moved, asked for other events, or deleted.
        seen: cursor; from ``position`` up to here nothing is for it. ``""``: not known.
        is_busy: a batch, or the look for one, is under way.
        is_tested: a test event is under way.
        served: how manieth attempt of all its last one was; the lowest goes first.
        rests_until: after trouble on our side.
        caught_up_at: when there was nothing left for it.
    """

    endpoint: Endpoint
    caught_up_at: datetime
    course: int = 0
    seen: str = ""
    is_busy: bool = False
    is_tested: bool = False
    served: int = 0
    rests_until: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def reads_after(self) -> str:
        """The cursor after which something may be for it."""
        return self.seen or self.endpoint.position


class Book:
    """Endpoints by id. Used on one event loop."""

    def __init__(self, store: UnitStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._entries: dict[WebhookId, Entry] = {}
        #: Called when a tenant changed something: there may be something to do.
        self.on_change: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Read all of them, once, at the start.

        Raises:
            StoreError: the store failed.
        """
        [rows] = await self._store.read(ALL())
        for row in rows:
            endpoint = endpoint_of(row)
            self._entries[endpoint.id] = Entry(endpoint, self._now())

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def of(self, tenant: TenantId) -> Sequence[Entry]:
        """Return those of a tenant, the oldest first."""
        return [each for each in self if each.endpoint.tenant == tenant]

    def get(self, tenant: TenantId, ident: int) -> Entry | None:
        """Return an endpoint of ``tenant``; another tenant's is ``None``."""
        entry = self._entries.get(WebhookId(ident))
        return entry if entry is not None and entry.endpoint.tenant == tenant else None

    async def add(self, endpoint: Endpoint) -> Entry:
        """Add a new one; durable on return.

        Raises:
            StoreError: it is not added.
        """
        await self._store.run(unit(ADD(**row_of(endpoint))))
        entry = Entry(endpoint, self._now())
        self._entries[endpoint.id] = entry
        self.on_change()
        return entry

    async def change(
        self,
        entry: Entry,
        changed: Callable[[Endpoint], Endpoint],
        *,
        is_other_course: bool = False,
        course: int | None = None,
        urgency: Urgency = Urgency.INTERACTIVE,
    ) -> bool:
        """Put what ``changed`` makes of an endpoint in its place; durable on return.

        With ``course``, only while it is on that one; nobody is told then. Returns
        whether it was done.

        Raises:
            StoreError: nothing is changed.
        """
        async with entry.lock:
            ident = entry.endpoint.id
            if self._entries.get(ident) is not entry:
                return False
            if course is not None and course != entry.course:
                return False
            endpoint = changed(entry.endpoint)
            if endpoint != entry.endpoint:
                row = row_of(endpoint)
                await self._store.run(
                    unit(SAVE(webhook_id=ident, **row), urgency=urgency)
                )
                entry.endpoint = endpoint
            if is_other_course:
                entry.course += 1
                entry.seen = ""
        if course is None:
            self.on_change()
        return True

    async def remove(self, entry: Entry) -> None:
        """Delete one, with its secrets; durable on return.

        Raises:
            StoreError: it is still there.
        """
        async with entry.lock:
            ident = entry.endpoint.id
            await self._store.run(unit(DELETE(webhook_id=ident)))
            self._entries.pop(ident, None)
            entry.course += 1
