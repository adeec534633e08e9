"""Tables of the API: what makes creates repeatable (kept 7 days), and webhooks."""

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

#: Endpoints that events are sent to. A row goes with its secrets when it is deleted.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("types", Text, nullable=False),  # JSON list; empty: all
    Column("campaign", Text),  # public id; null: any, and none
    Column("secret", Blob, nullable=False),  # sealed with the node key
    Column("old_secret", Blob),  # likewise; signs too until old_secret_until
    Column("old_secret_until", Big),
    Column("created_at", Big, nullable=False),
    Column("state", Text, nullable=False),  # active | failing | paused | disabled
    Column("reason", Text, nullable=False),
    Column("position", Text, nullable=False),  # cursor: all before it has arrived
    Column("offered", Text, nullable=False),  # cursor: end of the batch under way
    Column("gap", Text, nullable=False),  # JSON: what was dropped unread; or ""
    Column("failures", Big, nullable=False),  # attempts in a row
    Column("failing_since", Big),
    Column("next_attempt_at", Big),
    Column("last_attempt_at", Big),
    Column("last_status", Big),  # 0: no answer
    Column("last_error", Text, nullable=False),
    Column("delivered_at", Big),
    Index("webhooks_tenant", "tenant", "id"),
)
