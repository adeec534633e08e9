"""When this node wrote its last event: what a start judges the clock by."""

from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache

from sqlalchemy import bindparam, literal_column, select

from mailwright.clock import from_micros
from mailwright.events.tables import events_of
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query


async def last_event_at(store: UnitStore, days: Iterable[date]) -> datetime | None:
    """Return the time of the last event of this node, or ``None`` if there is none.

    ``days`` are those with tables; one seek in each until an event is found.
    """
    for day in sorted(days, reverse=True):
        (rows,) = await store.read(_latest_of(day)(my_node=store.node))
        if rows:
            return from_micros(rows[0][0])
    return None


@lru_cache(maxsize=64)
def _latest_of(day: date) -> Query:
    table = events_of(day)
    return Query(
        "latest event",
        select(table.c.at)
        .where(table.c.node == bindparam("my_node"))
        .order_by(table.c.seq.desc())
        .limit(literal_column("1")),
    )
