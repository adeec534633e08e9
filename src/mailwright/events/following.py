"""Reading the event log on from a cursor, all of it or what a filter lets through.

A question looks at a slice of the log at a time, by number, so that one for something
rare is many short reads and none that is long; what was looked at is behind the cursor,
whether or not anything was found in it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Table,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from mailwright.clock import to_micros
from mailwright.events.log import Event, parse_row
from mailwright.events.position import Position
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import CampaignId, MessageId, Subject, TenantId
from mailwright.store.statements import Bindable, Bound, Query, Row

MAX_PAGE: Final = 1_000
#: Events that one read looks at: some 20 ms.
SLICE: Final = 20_000
#: Slices that one question looks at before it answers with what it has.
MAX_SLICES: Final = 50

#: Makes a condition on a row of an event table, which is given.
Build: TypeAlias = Callable[[Table], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on events that a room further up makes, of its own tables.

    Attributes:
        build: the same function for the same text: statements are kept by it.
        params: the values of its parameters.
    """

    build: Build
    params: Mapping[str, Bindable]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted; every part that is given must hold.

    Attributes:
        tenant: ``None`` is everyone's (operators).
        types: empty means all.
        also: a further condition.
    """

    tenant: TenantId | None
    types: frozenset[EventType] = frozenset()
    message: MessageId | None = None
    campaign: CampaignId | None = None
    subject: Subject | None = None
    also: Condition | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Events in commit order and the cursor that goes on after them.

    Attributes:
        is_end: the log was looked at to its end. Otherwise there may be more, even
            after an empty page.
    """

    events: Sequence[Event]
    cursor: str
    is_end: bool = True


class EventRows(Protocol):
    """Where events are read from; every ``UnitStore`` is one."""

    #: The node whose events are read.
    node: int

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        """Return each statement's rows from one snapshot."""
        ...


@lru_cache(maxsize=256)
def _select_after(day: date, build: Build | None, *, of_message: bool) -> Query:
    table = events_of(day)
    # One text for most filters: a part that is not asked for is bound to hold.
    wanted = (
        select(table)
        .where(
            table.c.node == bindparam("node"),
            table.c.seq > bindparam("after"),
            table.c.seq <= bindparam("until"),
            or_(table.c.tenant == bindparam("tenant"), bindparam("tenant") == 0),
            or_(table.c.campaign == bindparam("job"), bindparam("job") == 0),
            or_(
                table.c.subject == bindparam("whom"),
                func.length(bindparam("whom")) == literal_column("0"),
            ),
            or_(
                bindparam("types").like("%," + table.c.type + ",%"),
                bindparam("types") == "",
            ),
        )
        .order_by(table.c.seq)
        .limit(bindparam("page"))
    )
    if of_message:  # has an index, which an alternative would hide
        wanted = wanted.where(table.c.message == bindparam("of"))
    if build is not None:
        wanted = wanted.where(build(table))
    return Query("events after", wanted)


@lru_cache(maxsize=64)
def _select_bounds(day: date) -> Query:
    """Return what reads the last number up to ``until`` and the first one after it."""
    table = events_of(day)
    mine = table.c.node == bindparam("node")
    return Query(
        "bounds of events",
        select(
            select(func.max(table.c.seq))
            .where(mine, table.c.seq <= bindparam("until"))
            .scalar_subquery(),
            select(func.min(table.c.seq))
            .where(mine, table.c.seq > bindparam("until"))
            .scalar_subquery(),
        ),
    )


@lru_cache(maxsize=64)
def _select_since(day: date) -> Query:
    table = events_of(day)
    return Query(
        "events since",
        select(table.c.seq)
        .where(table.c.node == bindparam("node"), table.c.at >= bindparam("since"))
        .order_by(table.c.seq)
        .limit(literal_column("1")),
    )


async def read_after(
    store: EventRows,
    cursor: str,
    wanted: Filter,
    *,
    limit: int,
    days: Sequence[date],
    until: str | None = None,
    slice_events: int = SLICE,
    max_slices: int = MAX_SLICES,
) -> Page:
    """Return up to ``limit`` events after ``cursor`` (``""``: from the oldest kept).

    ``days`` are those that have tables. The cursor goes on where this question looked up
    to, so that following a rare type does not read the same rows again. With ``until``,
    a cursor as well, nothing beyond it is looked at.

    Raises:
        CursorError: not a cursor.
    """
    position = Position.parse(cursor)
    end = sys.maxsize if until is None else Position.parse(until).of(store.node)[0]
    limit = min(max(limit, 1), MAX_PAGE)
    # An index leads to one message's: there is nothing to pass over.
    step = slice_events if wanted.message is None else sys.maxsize
    found: list[Event] = []
    for _ in range(max_slices):
        after, since = position.of(store.node)
        top = min(after + step, end)
        # An event is filed under the day on which it happened and numbered when it was
        # committed: one of yesterday may carry a higher number than one of today.
        known = sorted(day for day in days if day >= _day_before(since))
        values = _values(wanted) | {
            "node": store.node,
            "after": after,
            "until": top,
            "page": limit - len(found),
        }
        results = await store.read(
            *(_of_day(wanted, day)(**values) for day in known),
            *(_select_bounds(day)(node=store.node, until=top) for day in known),
        )
        rows, bounds = results[: len(known)], results[len(known) :]
        found += map(parse_row, sorted(_flat(rows), key=_seq_of)[: limit - len(found)])
        if len(found) == limit:
            return Page(found, after_event(position, found[-1]), is_end=False)
        seen = [(row[0][0], day) for row, day in zip(bounds, known, strict=True)]
        passed = [each for each in seen if each[0] is not None]
        reached, since = max([*passed, (after, since)])
        following = [row[0][1] for row in bounds if row[0][1] is not None]
        if not following or top >= end:
            last = position.at(store.node, reached, since) if passed else position
            return Page(found, last.cursor())
        # Numbers between belong to days that are gone.
        position = position.at(store.node, max(reached, min(following) - 1), since)
    return Page(found, position.cursor(), is_end=False)


def _of_day(wanted: Filter, day: date) -> Query:
    build = None if wanted.also is None else wanted.also.build
    return _select_after(day, build, of_message=wanted.message is not None)


def _values(wanted: Filter) -> dict[str, Bindable]:
    return {
        "tenant": wanted.tenant or 0,
        "job": wanted.campaign or 0,
        "whom": wanted.subject or b"",
        "of": wanted.message or 0,
        "types": f",{','.join(sorted(wanted.types))}," if wanted.types else "",
        **({} if wanted.also is None else wanted.also.params),
    }


def _flat(results: Sequence[Sequence[Row]]) -> list[Row]:
    return [row for rows in results for row in rows]


def _seq_of(row: Row) -> int:
    seq: int = row[1]
    return seq


def _day_before(day: date) -> date:
    return day if day == date.min else day - timedelta(days=1)


def after_event(position: Position, event: Event) -> str:
    """Return the cursor that has passed ``event``, and the rest of ``position``."""
    _, node, seq = event.id.split("_")
    return position.at(int(node), int(seq), event.at.date()).cursor()


async def end_of_log(store: EventRows, days: Sequence[date]) -> str:
    """Return the cursor after the last event: what comes from now on is read with it.

    ``days`` are those that have tables. Cost: one step in the index of each.
    """
    last = await last_numbers(store, days)
    if not last:
        return ""
    day = max(last, key=lambda each: last[each])
    return Position().at(store.node, last[day], day).cursor()


async def last_numbers(store: EventRows, days: Sequence[date]) -> Mapping[date, int]:
    """Return the number of the last event of each day that has any."""
    results = await store.read(
        *(_select_bounds(day)(node=store.node, until=sys.maxsize) for day in days)
    )
    return {
        day: rows[0][0]
        for day, rows in zip(days, results, strict=True)
        if rows and rows[0][0] is not None
    }


async def cursor_before(store: EventRows, since: datetime, days: Sequence[date]) -> str:
    """Return a cursor before everything that happened from ``since`` on.

    A few earlier events may follow it, too: the log is in the order of commits. Cost: the
    day of ``since`` is read up to then.
    """
    known = sorted(day for day in days if day >= since.date())
    results = await store.read(
        *(_select_since(day)(node=store.node, since=to_micros(since)) for day in known)
    )
    first = [
        (rows[0][0], day) for day, rows in zip(known, results, strict=True) if rows
    ]
    if not first:
        return await end_of_log(store, days)
    seq, day = min(first)
    return Position().at(store.node, seq - 1, day).cursor()


def has_passed(cursor: str, node: int, seq: int) -> bool:
    """Return whether the event ``seq`` of ``node`` lies before ``cursor``.

    Raises:
        CursorError: not a cursor.
    """
    return Position.parse(cursor).of(node)[0] >= seq
