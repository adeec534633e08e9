"""Tables of subjects and suppressions. No address is in them."""

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

#: What a tenant has learnt of a subject.
subjects = Table(
    "subjects",
    metadata,
    Column("tenant", Big, nullable=False),
    Column("subject", Blob, nullable=False),
    Column("soft_bounces", SmallInteger, nullable=False),
    Column("soft_bounced_at", Big),
    Column("complaints", SmallInteger, nullable=False),
    Column("engaged_at", Big),
    PrimaryKeyConstraint("tenant", "subject"),
    sqlite_with_rowid=False,
)

#: Tenant 0 is everyone's (operators only); stream 0 is every stream of the tenant.
suppressions = Table(
    "suppressions",
    metadata,
    Column("subject", Blob, nullable=False),
    Column("tenant", Big, nullable=False),
    Column("stream", Big, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("is_provisional", SmallInteger, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("ends_at", Big),
    PrimaryKeyConstraint("subject", "tenant", "stream"),
    Index("suppressions_tenant", "tenant", "created_at"),
    sqlite_with_rowid=False,
)
