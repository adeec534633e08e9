"""The append-only log: statements that write events, and reading on from a cursor.

An event is written in the transaction of what it tells of. Its number (``seq``) is in
commit order on its node, so a reader that remembers the last number misses nothing. A
cursor is opaque to clients: a position for each node and the day to look from.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

from sqlalchemy import bindparam, func, insert, or_, select

from mailwright.clock import from_micros, to_micros
from mailwright.errors import MailwrightError
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, DeliveryId, MessageId, Subject, TenantId
from mailwright.store.days import day_of, number_of
from mailwright.store.json_text import to_json
from mailwright.store.statements import SEQ, Bound, Query, Row

MAX_PAGE: Final = 1_000
#: What looks like an address in a reply; events carry none.
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),:;]{1,64}@[A-Za-z0-9.-]{1,255}")


class CursorError(MailwrightError):
    """Not a cursor that we gave out."""


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


@dataclass(frozen=True, slots=True)
class Page:
    """Events in commit order and the cursor that goes on after them."""

    events: Sequence[Event]
    cursor: str


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


def masked(text: str) -> str:
    """Return ``text`` without what looks like an address: events carry none."""
    return _ADDRESS.sub("<address>", text)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted; every part that is given must hold.

    Attributes:
        tenant: ``None`` is everyone's (operators).
        types: empty means all.
    """

    tenant: TenantId | None
    types: frozenset[EventType] = frozenset()
    message: MessageId | None = None


@lru_cache(maxsize=64)
def _select_after(day: date) -> Query:
    table = events_of(day)
    # One text for every filter: a part that is not asked for is bound to hold.
    return Query(
        "events after",
        select(table)
        .where(table.c.node == bindparam("node"), table.c.seq > bindparam("after"))
        .where(or_(table.c.tenant == bindparam("tenant"), bindparam("tenant") == 0))
        .where(or_(table.c.message == bindparam("of"), bindparam("of") == 0))
        .where(
            or_(
                bindparam("types").like("%," + table.c.type + ",%"),
                bindparam("types") == "",
            )
        )
        .order_by(table.c.seq)
        .limit(bindparam("page")),
    )


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


class EventRows(Protocol):
    """Where events are read from; every ``UnitStore`` is one."""

    #: The node whose events are read.
    node: int

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        """Return each statement's rows from one snapshot."""
        ...


async def read_after(
    store: EventRows, cursor: str, wanted: Filter, *, limit: int, days: Sequence[date]
) -> Page:
    """Return up to ``limit`` events after ``cursor`` (``""``: from the oldest kept).

    ``days`` are those that have tables. The cursor of an empty page goes on where this
    one looked up to, so that following a rare type does not read the same rows again.

    Raises:
        CursorError: not a cursor.
    """
    position = _parse_cursor(cursor)
    after, since = position.get(store.node, (0, date.min))
    # An event is filed under the day on which it happened and numbered when it was
    # committed: one of yesterday may carry a higher number than one of today.
    known = sorted(day for day in days if day >= _day_before(since))
    limit = min(max(limit, 1), MAX_PAGE)
    params = {
        "node": store.node,
        "after": after,
        "tenant": wanted.tenant or 0,
        "of": wanted.message or 0,
        "types": f",{','.join(sorted(wanted.types))}," if wanted.types else "",
        "page": limit,
    }
    results = await store.read(
        *(_select_after(day)(**params) for day in known),
        *(_select_last(day)(node=store.node) for day in known),
    )
    found = sorted(
        (row for rows in results[: len(known)] for row in rows), key=lambda row: row[1]
    )
    events = [parse_row(row) for row in found[:limit]]
    if len(found) >= limit:
        last = found[limit - 1]
        position[store.node] = (last[1], from_micros(last[2]).date())
    else:
        seen = [
            (rows[0][0], day)
            for day, rows in zip(known, results[len(known) :], strict=True)
            if rows and rows[0][0] is not None
        ]
        position[store.node] = max([*seen, (after, since)])
    return Page(events, _format_cursor(position))


async def end_of_log(store: EventRows, days: Sequence[date]) -> str:
    """Return the cursor after the last event: what comes from now on is read with it.

    ``days`` are those that have tables. Cost: one step in the index of each.
    """
    results = await store.read(*(_select_last(day)(node=store.node) for day in days))
    last = [
        (rows[0][0], day)
        for day, rows in zip(days, results, strict=True)
        if rows and rows[0][0] is not None
    ]
    return _format_cursor({store.node: max(last)}) if last else ""


@lru_cache(maxsize=64)
def _select_last(day: date) -> Query:
    table = events_of(day)
    return Query(
        "last event",
        select(func.max(table.c.seq)).where(table.c.node == bindparam("node")),
    )


def _day_before(day: date) -> date:
    return day if day == date.min else day - timedelta(days=1)


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


def _format_cursor(position: Mapping[int, tuple[int, date]]) -> str:
    text = ",".join(
        # Not strftime, which writes the year of `date.min` with one digit.
        f"{node}:{seq}:{number_of(day):08}"
        for node, (seq, day) in sorted(position.items())
    )
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> dict[int, tuple[int, date]]:
    if not cursor:
        return {}
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        return dict(_parse_positions(text.split(",")))
    except (binascii.Error, ValueError) as error:
        raise CursorError("not a cursor of this server") from error


def _parse_positions(parts: Iterable[str]) -> Iterable[tuple[int, tuple[int, date]]]:
    for part in parts:
        node, seq, day = part.split(":")
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()
        yield int(node), (int(seq), at)
