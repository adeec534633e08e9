"""Tables of campaigns: the jobs, their recipients, what was not taken, the counts."""

from sqlalchemy import (
    Column,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from mailwright.store.tables import Big

metadata = MetaData()

#: One job. Its deliveries point to it; what it says of pause, pace, window, pool and
#: expiry is never copied to them.
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("credential", Big, nullable=False),
    Column("stream", Big, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # see queue.campaign.job
    Column("start_wanted", SmallInteger, nullable=False),  # runs once it is sealed
    Column("content", Big, nullable=False),
    Column("sending_domain", Big, nullable=False),
    Column("selector", Text, nullable=False),  # fixed when it was made
    Column("reverse_path", Text, nullable=False),
    Column("pool", Big),  # null: the stream's
    Column("is_moving", SmallInteger, nullable=False),  # its lines, to that pool
    Column("spec", Text, nullable=False),  # JSON object: what was asked for
    Column("metadata", Text, nullable=False),  # JSON object
    Column("tags", Text, nullable=False),  # JSON list
    Column("seeds", Text, nullable=False),  # JSON list
    Column("list_url", Text),
    Column("thresholds", Text),  # JSON object; null: the node's
    Column("created_at", Big, nullable=False),
    Column("sealed_at", Big),  # when its deliveries were accepted, all of them at once
    Column("sealed_rows", Big, nullable=False),  # the last position that has a delivery
    Column("sealed_rejects", Big, nullable=False),  # how many rejects are stored
    Column("rows", Big),  # positions there are; null until they are counted
    Column("duplicates", Big, nullable=False),
    Column("invalid", Big, nullable=False),
    Column("suppressed", Big, nullable=False),  # not taken in; others are recipients
    Column("started_at", Big),
    Column("dated_at", Big),  # Date and DKIM t= of its mail, by its first start
    Column("send_at", Big),
    Column("expires_at", Big),
    Column("window", Text),  # JSON object
    Column("pace_per_hour", Big),
    Column("priority", SmallInteger, nullable=False),  # 0-7, lower goes first
    Column("reason", Text),  # JSON object: why it is held or failed
    Column("finished_at", Big),
    Index("campaigns_tenant", "tenant", "id"),
    Index(
        "campaigns_open",
        "id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

#: One recipient of one campaign, for as long as its results are kept.
recipients = Table(
    "recipients",
    metadata,
    Column("message", Big, primary_key=True),
    Column("campaign", Big, nullable=False),
    Column("row", Big, nullable=False),  # of what was uploaded, from 1; 0: a seed
    Column("delivery", Big, nullable=False),
    Column("address", Text, nullable=False),  # canonical
    Column("fields", Text, nullable=False),  # JSON object
    Column("metadata", Text, nullable=False),  # JSON object
    Column("timezone", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("is_seed", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),  # of its delivery; never "sending"
    Column("category", Text, nullable=False),
    Column("code", SmallInteger, nullable=False),  # 0: no reply
    Column("enhanced", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("at", Big),  # when it became final
    Index("recipients_campaign", "campaign", "message"),
)

#: Rows that got no delivery.
rejects = Table(
    "rejects",
    metadata,
    Column("campaign", Big, nullable=False),
    Column("row", Big, nullable=False),
    Column("address", Text, nullable=False),  # as it was given, cut
    Column("outcome", Text, nullable=False),  # duplicate | invalid | suppressed
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("campaign", "row"),
    sqlite_with_rowid=False,
)

#: How many recipients of a campaign are in a state, seeds with them.
campaign_totals = Table(
    "campaign_totals",
    metadata,
    Column("campaign", Big, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("category", Text, nullable=False),
    Column("count", Big, nullable=False),
    PrimaryKeyConstraint("campaign", "state", "category"),
    sqlite_with_rowid=False,
)

#: Versions of stored contents; a version never changes.
templates = Table(
    "templates",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Big, nullable=False),
    Column("content", Big, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Index("templates_version", "tenant", "name", "version", unique=True),
)
