"""The table that makes creates repeatable; rows are kept 7 days."""

from sqlalchemy import (
    Column,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from mailwright.store.tables import Big, Blob

metadata = MetaData()

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", Big, nullable=False),
    Column("path", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", Blob, nullable=False),  # SHA-256 of the body
    Column("status", SmallInteger, nullable=False),
    Column("response", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    PrimaryKeyConstraint("tenant", "path", "key"),
    Index("idempotency_created", "created_at"),
)
