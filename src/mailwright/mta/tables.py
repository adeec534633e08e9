"""What the MTA remembers of receivers across restarts."""

from sqlalchemy import Column, MetaData, Table, Text

from mailwright.store.tables import Big

metadata = MetaData()

#: MX hosts whose STARTTLS handshake failed: in clear until then, where policy allows.
tls_failures = Table(
    "tls_failures",
    metadata,
    Column("mx", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("failed_at", Big, nullable=False),
    Column("until", Big, nullable=False),
)
