"""Tables of shared settings: tenants and what belongs to them, sources, pools, routes.

What queued mail refers to is retired (``retired_at``), never deleted.
"""

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

from mailwright.store.tables import Big, Blob

metadata = MetaData()

#: Each change of the shared settings, newest version in force.
settings_log = Table(
    "settings_log",
    metadata,
    Column("version", Big, primary_key=True),
    Column("at", Big, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("summary", Text, nullable=False),  # what changed, in one line
    Column("document", Text, nullable=False),  # JSON: changes, settings; no secrets
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Big, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("name", Text, nullable=False, unique=True),  # also the SMTP login
    Column("secret_hash", Blob),  # SHA-256; null: usable from mapped networks only
    Column("scopes", Text, nullable=False),  # blank-separated
    Column("stream", Big, nullable=False),  # its default
    Column("hourly_limit", Big),
    Column("daily_quota", Big),
    Column("backlog_limit", Big),
    Column("dsn", Text, nullable=False),  # all | transactional | none
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),
    Column("revoked_at", Big),  # for good: the name is used up, the secret forgotten
)

#: Recipients of a credential in an hour or a day; what limits are counted by.
quota_used = Table(
    "quota_used",
    metadata,
    Column("credential", Big, nullable=False),
    Column("period", SmallInteger, nullable=False),  # 0 hour, 1 day
    Column("starts_at", Big, nullable=False),
    Column("recipients", Big, nullable=False),
    PrimaryKeyConstraint("credential", "period", "starts_at"),
    Index("quota_used_period", "period", "starts_at"),
)

sending_domains = Table(
    "sending_domains",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("domain", Text, nullable=False),
    Column("return_path_domain", Text, nullable=False),
    Column("proof", Text, nullable=False),  # dns | operator
    Column("proven_at", Big),
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),
    # A From domain belongs to one tenant at a time.
    Index(
        "sending_domains_live",
        "domain",
        unique=True,
        sqlite_where=text("retired_at IS NULL"),
        postgresql_where=text("retired_at IS NULL"),
    ),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    Column("sending_domain", Big, nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),  # rsa-sha256 | ed25519-sha256
    Column("sealed_key", Big, nullable=False),
    Column("is_primary", SmallInteger, nullable=False),
    Column("signs_too", SmallInteger, nullable=False),  # a second signature
    Column("signing_domain", Text, nullable=False),  # d=
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),  # signs what was accepted before
    Column("revoked_at", Big),  # signs nothing
    PrimaryKeyConstraint("sending_domain", "selector"),
)

#: Secrets, each sealed with the node-set key.
sealed_keys = Table(
    "sealed_keys",
    metadata,
    Column("id", Big, primary_key=True),
    Column(
        "purpose", Text, nullable=False
    ),  # subject | dkim | smarthost | token | check
    Column("tenant", Big),
    Column("sealed", Blob, nullable=False),  # nonce, ciphertext, tag
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),
)

streams = Table(
    "streams",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("name", Text, nullable=False),
    Column("class", SmallInteger, nullable=False),  # 0 transactional, 1 bulk
    Column("pool", Big, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("retired_at", Big),
    Index("streams_name", "tenant", "name", unique=True),
)

sources = Table(
    "sources",
    metadata,
    Column("id", Big, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False),  # "" lets the system choose
    Column("ehlo_name", Text, nullable=False),
    Column("owner", Big),  # the node that holds it
    Column("epoch", Big),
    Column("until", Big),
    Column("retired_at", Big),
)

pools = Table(
    "pools",
    metadata,
    Column("id", Big, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("overflow", Big),
    Column("retired_at", Big),
)

pool_sources = Table(
    "pool_sources",
    metadata,
    Column("pool", Big, nullable=False),
    Column("source", Big, nullable=False),
    Column("weight", Big, nullable=False),
    PrimaryKeyConstraint("pool", "source"),
)

routes = Table(
    "routes",
    metadata,
    Column("id", Big, primary_key=True),
    Column(
        "domain", Text, nullable=False, unique=True
    ),  # "*" matches what no other does
    Column("host", Text, nullable=False),
    Column("port", Big, nullable=False),
    Column("pipelining", Text, nullable=False),  # none | commands | transactions
    Column("tls", Text, nullable=False),  # none | opportunistic | required
    Column("login", Text, nullable=False),
    Column("sealed_password", Big),
    Column("retired_at", Big),
)

#: Limits of operators, beside those of the profiles.
throttles = Table(
    "throttles",
    metadata,
    Column("id", Big, primary_key=True),
    Column("title", Text, nullable=False, unique=True),  # name, or what it counts
    Column("name", Text),
    Column("rate", Text, nullable=False),  # 5000/h burst 50, or 50000/day
    Column("per", Text, nullable=False),  # blank-separated: counted apart for each
    Column("source", Big),  # only what has this; likewise below
    Column("provider", Text),
    Column("site", Text),
    Column("domain", Text),
    Column("tenant", Big),
    Column("stream", Big),
    Column("credential", Big),
    Column("reason", Text, nullable=False),
    Column("retired_at", Big),
)

#: What operators say of providers in place of the shipped profiles.
provider_changes = Table(
    "provider_changes",
    metadata,
    Column("id", Big, primary_key=True),
    Column("provider", Text, nullable=False, unique=True),
    Column("treatment", Text, nullable=False),  # JSON object by key of a profile
    Column("reason", Text, nullable=False),
    Column("retired_at", Big),
)

#: Networks that outbound connections may reach although not globally routable.
allowed_networks = Table(
    "allowed_networks",
    metadata,
    Column("network", Text, primary_key=True),
    Column("reason", Text, nullable=False),
)
