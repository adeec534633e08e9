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

    The last is the one that was written last: a clock that was ahead for a while has
    left later ones. ``days`` are those with tables; one seek in each.
    """
    results = await store.read(
        *(_latest_of(day)(my_node=store.node) for day in sorted(days))
    )
    written = [(seq, at) for rows in results for seq, at in rows]
    return from_micros(max(written)[1]) if written else None


@lru_cache(maxsize=64)
def _latest_of(day: date) -> Query:
    table = events_of(day)
    return Query(
        "latest event",
        select(table.c.seq, table.c.at)
        .where(table.c.node == bindparam("my_node"))
        .order_by(table.c.seq.desc())
        .limit(literal_column("1")),
    )
