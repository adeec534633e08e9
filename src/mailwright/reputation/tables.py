"""What reputation keeps over restarts."""

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table, Text

from mailwright.store.tables import Big

metadata = MetaData()

#: What an orderly stop kept of buckets that were not full. Empty while the node runs, so
#: that a start after a crash finds nothing and begins with empty buckets.
buckets = Table(
    "buckets",
    metadata,
    Column("node", Big, nullable=False),
    Column("name", Text, nullable=False),  # "" says that the stop was orderly
    Column("full_at", Big, nullable=False),  # nanoseconds since 1970 UTC
    PrimaryKeyConstraint("node", "name"),
)

#: How much of a day's allowance is reserved; counts as used after a crash.
ledgers = Table(
    "ledgers",
    metadata,
    Column("day", Big, nullable=False),  # YYYYMMDD
    Column("key", Text, nullable=False),
    Column("used", Big, nullable=False),
    PrimaryKeyConstraint("day", "key"),
)
