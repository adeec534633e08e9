"""Tables of the event log: one a day, and the readers' cursors."""

from datetime import date
from functools import lru_cache

from sqlalchemy import Column, Index, MetaData, PrimaryKeyConstraint, Table, Text

from mailwright.store.tables import Big, Blob

metadata = MetaData()

cursors = Table(
    "cursors",
    metadata,
    Column("tenant", Big, nullable=False),
    Column("name", Text, nullable=False),
    Column("position", Text, nullable=False),
    Column("updated_at", Big, nullable=False),
    PrimaryKeyConstraint("tenant", "name"),
)


@lru_cache(maxsize=64)
def events_of(day: date) -> Table:
    """Return the table of the events that happened on ``day`` (UTC)."""
    name = f"events_{day:%Y%m%d}"
    return Table(
        name,
        MetaData(),
        Column("node", Big, nullable=False),
        Column("seq", Big, nullable=False),  # commit order on its node
        Column("at", Big, nullable=False),
        Column("type", Text, nullable=False),
        Column("tenant", Big, nullable=False),
        Column("message", Big, nullable=False),
        Column("delivery", Big, nullable=False),
        Column("subject", Blob, nullable=False),
        Column("campaign", Big),
        Column("accepted_on", Big, nullable=False),  # YYYYMMDD: names the day table
        Column("data", Text, nullable=False),  # JSON object; no address in it
        PrimaryKeyConstraint("node", "seq"),
        Index(f"{name}_message", "message"),
        sqlite_with_rowid=False,
    )
