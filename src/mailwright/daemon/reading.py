"""What the API shows: joins the queue's rows, the event log and the settings' names."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mailwright.accounts.directory import Directory
from mailwright.api.hold_view import HoldOut, hold_out
from mailwright.api.ports import (
    AttemptRecord,
    DeliveryRecord,
    EventFilter,
    EventPage,
    MessageRecord,
)
from mailwright.clock import Clock
from mailwright.daemon.event_reading import EventReading
from mailwright.events.log import Event, parse_row, select_of_message
from mailwright.events.types import EventType
from mailwright.ids import (
    Kind,
    PublicId,
    SourceId,
    TenantId,
    format_public,
)
from mailwright.permit import Permit
from mailwright.queue.book import LineBook
from mailwright.queue.delivery import State
from mailwright.queue.holds import Hold
from mailwright.queue.line import Line
from mailwright.queue.reading import (
    MESSAGE,
    OPEN_DELIVERIES,
    StoredDelivery,
    finished_deliveries,
    finished_delivery_of,
    message_of,
    open_delivery_of,
)
from mailwright.queue.terms import Rest
from mailwright.reply import Origin, Phase, Reply
from mailwright.store.store import Store

#: Events that are the end of an attempt.
_ATTEMPTS = frozenset(
    {EventType.DELIVERED, EventType.DEFERRED, EventType.BOUNCED, EventType.EXPIRED}
)


class NodeReading:
    """Implements the API's port ``Reading`` on this node's store."""

    def __init__(
        self,
        store: Store,
        book: LineBook,
        directory: Callable[[], Directory],
        clock: Clock,
        events: EventReading,
        why_waiting: Callable[[Line], Permit | None] = lambda _line: None,
        stopping: Callable[[Line], Sequence[Hold]] = lambda _line: (),
        rest_of: Callable[[Line], Rest | None] = lambda _line: None,
    ) -> None:
        """``why_waiting`` knows what keeps a whole lane back, ``stopping`` the holds.

        ``rest_of`` knows what the campaign of a line says.
        """
        self._store = store
        self._book = book
        self._directory = directory
        self._clock = clock
        self._events = events
        self._why_waiting = why_waiting
        self._stopping = stopping
        self._rest_of = rest_of

    async def message(self, tenant: TenantId, ident: PublicId) -> MessageRecord | None:
        """Return a message of ``tenant``; another tenant's is ``None``."""
        day, number = ident.day, ident.number
        # By itself and first: another tenant's message takes as long as none.
        (found,) = await self._store.read(MESSAGE(message_id=number, tenant=tenant))
        known = [each for each in self._store.days() if each >= day]
        if not found or not known or known[0] != day:
            return None
        message = message_of(found[0])
        if message.accepted_at.date() != day:
            return None
        opened, finished, *logged = await self._store.read(
            OPEN_DELIVERIES(message_id=number),
            finished_deliveries(day)(message_id=number),
            *(select_of_message(each)(message_id=number) for each in known),
        )
        events = [parse_row(row) for rows in logged for row in rows]
        deliveries = [
            *map(open_delivery_of, opened),
            *map(finished_delivery_of, finished),
        ]
        directory = self._directory()
        domain = directory.sending_domains_by_id.get(message.sending_domain)
        stream = directory.streams.get(message.stream)
        return MessageRecord(
            format_public(Kind.MESSAGE, message.accepted_at, message.id),
            message.accepted_at,
            "" if domain is None else domain.domain,
            message.message_id,
            "" if stream is None else stream.name,
            message.size_octets,
            message.tags,
            message.metadata,
            message.edits,
            [
                self._delivery(tenant, message.accepted_at, each, events)
                for each in sorted(deliveries, key=lambda each: each.id)
            ],
        )

    async def events(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, limit: int
    ) -> EventPage:
        """Return up to ``limit`` events after a cursor."""
        return await self._events.events(tenant, wanted, after=after, limit=limit)

    def _delivery(
        self,
        tenant: TenantId,
        accepted_at: datetime,
        stored: StoredDelivery,
        events: Sequence[Event],
    ) -> DeliveryRecord:
        holds = self._holds(tenant, stored)
        return DeliveryRecord(
            format_public(Kind.DELIVERY, accepted_at, stored.id),
            stored.recipient,
            stored.state.name.lower(),
            stored.due_at,
            stored.expires_at,
            stored.finished_at,
            _held(holds) or self._waiting_for(stored),
            [
                self._attempt(event)
                for event in events
                if event.about.delivery == stored.id and event.type in _ATTEMPTS
            ],
            holds,
        )

    def _holds(self, tenant: TenantId, stored: StoredDelivery) -> list[HoldOut]:
        """Return what stops a delivery that waits, as its tenant may see it."""
        line = None if stored.line is None else self._book.get(stored.line)
        if line is None or stored.state is not State.QUEUED:
            return []
        directory = self._directory()
        return [hold_out(hold, directory, tenant) for hold in self._stopping(line)]

    def _waiting_for(self, stored: StoredDelivery) -> str | None:
        if stored.line is None:
            return None
        line = self._book.get(stored.line)
        rest = None if line is None else self._rest_of(line)
        if rest is not None:
            until = "" if rest.until is None else f" (until {_short(rest.until)})"
            return f"{rest.reason}{until}"
        if line is not None and line.wait_until is not None:
            return f"{line.wait_reason} (until {_short(line.wait_until)})"
        refused = None if line is None else self._why_waiting(line)
        if refused is not None and refused.until is not None:
            return f"{refused.reason} (until {_short(refused.until)})"
        if stored.due_at is not None and stored.due_at > self._clock.now():
            return f"its next attempt is due at {_short(stored.due_at)}"
        return None

    def _attempt(self, event: Event) -> AttemptRecord:
        data: Mapping[str, Any] = event.data
        source = self._directory().sources.get(SourceId(data.get("source") or 0))
        reply = None
        if data.get("code"):
            reply = Reply(
                data["code"],
                data["enhanced"],
                data["text"],
                Phase(data["phase"]),
                Origin(data["origin"]),
            )
        return AttemptRecord(
            data.get("attempt", data.get("attempts", 0)),
            event.at,
            event.type,
            reply,
            "" if source is None else source.name,
            data.get("hop", ""),
            data.get("tls", ""),
            data.get("category", ""),
            data.get("edits", ()),
        )


def _held(holds: Sequence[HoldOut]) -> str | None:
    """Return what stops a delivery, for people; ``None``: no hold does."""
    return "; ".join(map(_said_of, holds)) or None


def _said_of(hold: HoldOut) -> str:
    what = "being cancelled" if hold.cancels else "held"
    why = f": {hold.reason}" if hold.reason else ""
    until = "" if hold.ends_at is None else f" (until {_short(hold.ends_at)})"
    return f"{what} by {hold.author}{why}{until}"


def _short(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
