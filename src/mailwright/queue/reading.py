"""What people and programs see of messages and deliveries: statements and values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import bindparam, select

from mailwright.clock import from_micros
from mailwright.ids import (
    DeliveryId,
    LineId,
    MessageId,
    SendingDomainId,
    StreamId,
)
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries, finished_of, messages
from mailwright.store.statements import Query, Row

#: One message of one tenant.
MESSAGE: Final = Query(
    "message",
    select(
        messages.c.id,
        messages.c.accepted_at,
        messages.c.stream,
        messages.c.sending_domain,
        messages.c.message_id,
        messages.c.size_octets,
        messages.c.tags,
        messages.c.metadata,
        messages.c.edits,
    ).where(
        messages.c.id == bindparam("message_id"),
        messages.c.tenant == bindparam("tenant"),
        messages.c.is_complete == 1,
    ),
)
#: Its deliveries that are not final.
OPEN_DELIVERIES: Final = Query(
    "open deliveries",
    select(
        deliveries.c.id,
        deliveries.c.recipient,
        deliveries.c.state,
        deliveries.c.due_at,
        deliveries.c.expires_at,
        deliveries.c.line,
    )
    .where(deliveries.c.message == bindparam("message_id"))
    .order_by(deliveries.c.id),
)


@lru_cache(maxsize=64)
def finished_deliveries(day: date) -> Query:
    """Return the statement that reads a message's final deliveries."""
    table = finished_of(day)
    return Query(
        "finished deliveries",
        select(table.c.id, table.c.recipient, table.c.state, table.c.finished_at)
        .where(table.c.message == bindparam("message_id"))
        .order_by(table.c.id),
    )


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A row of ``messages``, for people."""

    id: MessageId
    accepted_at: datetime
    stream: StreamId
    sending_domain: SendingDomainId
    message_id: str
    size_octets: int
    tags: Sequence[str]
    metadata: Mapping[str, str]
    edits: Sequence[str]


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery, final or not.

    Attributes:
        line: ``None`` once it is final.
    """

    id: DeliveryId
    recipient: str
    state: State
    due_at: datetime | None = None
    expires_at: datetime | None = None
    finished_at: datetime | None = None
    line: LineId | None = None


def message_of(row: Row) -> StoredMessage:
    """Return the value of a row of :data:`MESSAGE`."""
    return StoredMessage(
        MessageId(row[0]),
        from_micros(row[1]),
        StreamId(row[2]),
        SendingDomainId(row[3]),
        row[4],
        row[5],
        json.loads(row[6]),
        json.loads(row[7]),
        json.loads(row[8]),
    )


def open_delivery_of(row: Row) -> StoredDelivery:
    """Return the value of a row of :data:`OPEN_DELIVERIES`."""
    return StoredDelivery(
        DeliveryId(row[0]),
        row[1],
        State(row[2]),
        due_at=from_micros(row[3]),
        expires_at=from_micros(row[4]),
        line=LineId(row[5]),
    )


def finished_delivery_of(row: Row) -> StoredDelivery:
    """Return the value of a row of :func:`finished_deliveries`."""
    return StoredDelivery(
        DeliveryId(row[0]), row[1], State(row[2]), finished_at=from_micros(row[3])
    )
