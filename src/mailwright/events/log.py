"""The append-only log: statements that write events, and the values in its rows.

An event is written in the transaction of what it tells of. Its number (``seq``) is in
commit order on its node, so a reader that remembers the last number misses nothing
(:mod:`mailwright.events.following`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import bindparam, insert, select

from mailwright.clock import from_micros, to_micros
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, DeliveryId, MessageId, Subject, TenantId
from mailwright.store.days import day_of, number_of
from mailwright.store.json_text import to_json
from mailwright.store.statements import SEQ, Bound, Many, Query, Row

#: What looks like an address in a reply; events carry none.
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),:;]{1,64}@[A-Za-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class About:
    """Whom an event is about; no address.

    Attributes:
        accepted_on: the UTC day on which the message was accepted; part of public ids.
    """

    tenant: TenantId
    message: MessageId
    delivery: DeliveryId
    subject: Subject
    accepted_on: date
    campaign: CampaignId | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as read back. ``id`` is stable and unique."""

    id: str
    at: datetime
    type: EventType
    about: About
    data: Mapping[str, object]


#: Of an event's row, in their order.
_COLUMNS: Final = tuple(column.name for column in events_of(date.min).c)


@lru_cache(maxsize=64)
def _insert(day: date) -> Query:
    return Query("insert event", insert(events_of(day)))


def write_event(
    node: int, at: datetime, kind: EventType, about: About, data: Mapping[str, object]
) -> Bound:
    """Return the statement that appends an event; it goes into the caller's unit."""
    return _insert(at.date())(
        node=node,
        seq=SEQ,
        at=to_micros(at),
        type=kind.value,
        tenant=about.tenant,
        message=about.message,
        delivery=about.delivery,
        subject=about.subject,
        campaign=about.campaign,
        accepted_on=number_of(about.accepted_on),
        data=to_json(data),
    )


def write_events(
    node: int,
    at: datetime,
    kind: EventType,
    tenant: TenantId,
    campaign: CampaignId,
    accepted_on: date,
    deliveries: Iterable[tuple[int, int, bytes]],
) -> Many:
    """Return the statement that appends an event, without data, for each delivery.

    ``deliveries`` are (message, delivery, subject), all of one campaign.
    """
    micros, day = to_micros(at), number_of(accepted_on)
    return Many(
        _insert(at.date()),
        _COLUMNS,
        [
            (
                *(node, SEQ, micros, kind.value, tenant, message, delivery, subject),
                *(campaign, day, "{}"),
            )
            for message, delivery, subject in deliveries
        ],
    )


def masked(text: str) -> str:
    """Return ``text`` without what looks like an address: events carry none."""
    return _ADDRESS.sub("<address>", text)


@lru_cache(maxsize=64)
def select_of_message(day: date) -> Query:
    """Return the statement that reads the events of one message on ``day``."""
    table = events_of(day)
    return Query(
        "events of message",
        select(table)
        .where(table.c.message == bindparam("message_id"))
        .order_by(table.c.at, table.c.seq),
    )


def parse_row(row: Row) -> Event:
    """Return the event in a row of an event table."""
    node, seq, at, kind, tenant, message, delivery, subject, campaign, day, data = row
    about = About(
        TenantId(tenant),
        MessageId(message),
        DeliveryId(delivery),
        Subject(subject),
        day_of(day),
        None if campaign is None else CampaignId(campaign),
    )
    return Event(
        f"evt_{node}_{seq}", from_micros(at), EventType(kind), about, json.loads(data)
    )
