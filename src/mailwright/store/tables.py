"""The store's own tables, and the column types that every room uses.

Instants are whole microseconds since 1970 UTC (:func:`mailwright.clock.to_micros`):
both engines keep and index them alike.
"""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

#: 64-bit ids and instants. SQLite only aliases its row id when the type says INTEGER.
Big = BigInteger().with_variant(Integer(), "sqlite")
Blob = LargeBinary()

metadata = MetaData()

#: One row: what this database is.
schema_facts = Table(
    "schema_facts",
    metadata,
    Column("name", Text, primary_key=True),  # version, min_reader, epoch
    Column("value", Big, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Big, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("epoch", Big, nullable=False),  # of its last start
    Column(
        "ids_end", Big, nullable=False
    ),  # counters below this may have been given out
    Column("seq", Big, nullable=False),  # the last event number given
    Column("started_at", Big, nullable=False),
    Column("stopped_at", Big),  # null while it runs, or when it died
)

#: The days for which day tables exist, as YYYYMMDD.
days = Table(
    "days",
    metadata,
    Column("day", Big, primary_key=True),
    Column("created_at", Big, nullable=False),
)
