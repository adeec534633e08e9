"""The last time that was believed, while the clock is not.

A start judges the clock by the last event. One that finds it wrong delivers none the
less, and so writes events at a wrong time: the next start must not take these for a
proof that the time is right. What the first one compared with is kept until the clock
is believed again.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.clock import from_micros, to_micros
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, unit
from mailwright.store.tables import schema_facts

_NAME: Final = "trusted_at"
_READ: Final = Query(
    "trusted time", select(schema_facts.c.value).where(schema_facts.c.name == _NAME)
)
_KEEP: Final = Query("keep trusted time", upsert(schema_facts).on_conflict_do_nothing())
_FORGET: Final = Query(
    "forget trusted time", delete(schema_facts).where(schema_facts.c.name == _NAME)
)


async def read_trusted(store: UnitStore) -> datetime | None:
    """Return what an earlier start kept; ``None``: its clock was believed."""
    (rows,) = await store.read(_READ())
    return from_micros(rows[0][0]) if rows else None


async def keep_trusted(store: UnitStore, at: datetime) -> None:
    """Keep ``at`` unless something is kept already; durable on return."""
    await store.run(unit(_KEEP(name=_NAME, value=to_micros(at))))


async def forget_trusted(store: UnitStore) -> None:
    """Keep nothing any more; durable on return."""
    await store.run(unit(_FORGET()))
