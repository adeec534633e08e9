"""Tables of the queue: what is not final, and one table a day for what is.

No statement of ours ever scans ``deliveries``: the queue is read by
(line, band, due_at) over queued rows, a restart reads ``lines``.
"""

from datetime import date
from functools import lru_cache
from typing import Final

from sqlalchemy import (
    Column,
    Index,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

from mailwright.store.tables import Big, Blob

metadata = MetaData()

#: ``expires_at`` of what does not expire by its own row: a campaign's expiry is the
#: campaign's, so that a change of it writes one row.
NEVER_EXPIRES: Final = 253_402_300_799_999_999

#: One submission (a campaign's delivery is a message of its own).
messages = Table(
    "messages",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("credential", Big, nullable=False),
    Column("stream", Big, nullable=False),
    Column("campaign", Big),
    Column("content", Big, nullable=False),
    Column("accepted_at", Big, nullable=False),
    # 0 until the last unit of a large submission is in: then its deliveries are due.
    Column("is_complete", SmallInteger, nullable=False),
    Column("reverse_path", Text, nullable=False),  # "" is the null reverse-path
    Column("ret", Text, nullable=False),
    Column("envid", Text, nullable=False),
    Column("sending_domain", Big, nullable=False),
    Column("message_id", Text, nullable=False),  # the header field's value
    Column("size_octets", Big, nullable=False),
    Column("tags", Text, nullable=False),  # JSON list
    Column("metadata", Text, nullable=False),  # JSON object
    Column("edits", Text, nullable=False),  # JSON list: what intake changed
    # A campaign's messages go with it.
    Index(
        "messages_accepted",
        "accepted_at",
        sqlite_where=text("campaign IS NULL"),
        postgresql_where=text("campaign IS NULL"),
    ),
    Index(
        "messages_incomplete",
        "id",
        sqlite_where=text("is_complete = 0"),
        postgresql_where=text("is_complete = 0"),
    ),
)

#: Octets as stored after intake, counted by reference.
contents = Table(
    "contents",
    metadata,
    Column("id", Big, primary_key=True),
    Column("header", Blob, nullable=False),  # with the empty line's CRLF
    Column("body", Blob),  # null when body_file holds it
    Column("body_file", Text),  # relative to the folder of bodies
    Column("body_octets", Big, nullable=False),
    Column("checksum", Big, nullable=False),  # of header and body, see queue.content
    Column("refs", Big, nullable=False),
)

#: Not unique by key: a move changes ``pool``; accepts append to the lowest id.
lines = Table(
    "lines",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big, nullable=False),
    Column("campaign", Big),
    Column("stream", Big, nullable=False),
    Column("sending_domain", Big, nullable=False),
    Column("credential", Big, nullable=False),
    Column("class", SmallInteger, nullable=False),
    Column("domain", Text, nullable=False),
    Column("pool", Big, nullable=False),
    Column("count", Big, nullable=False),  # deliveries that are not final
    Column("next_due_at", Big, nullable=False),  # nothing of it is due before
    Column("hold", Big),  # holds.id: made for this line alone
    Column("owner", Big, nullable=False),
    Column("epoch", Big, nullable=False),
    Column("until", Big),
    # Of a campaign's recipients: its window opens by their own time. "": not given.
    Column("timezone", Text, nullable=False),
    Index("lines_owner", "owner", "id"),
)

#: What is not final. Settling moves a row out.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Big, primary_key=True),
    Column("message", Big, nullable=False),
    Column("line", Big, nullable=False),
    Column("band", SmallInteger, nullable=False),  # 0–7, lower goes first
    Column("due_at", Big, nullable=False),
    Column("not_before", Big),
    Column("expires_at", Big, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),  # how many were begun
    Column("ambiguous", SmallInteger, nullable=False),  # attempts that may have arrived
    Column("lost", SmallInteger, nullable=False),  # of these, not by a dead start
    Column("epoch", Big),  # of the start that is sending it
    Column("source", Big),  # of its first attempt; greylisting wants it again
    Column("tenant", Big, nullable=False),
    Column("stream", Big, nullable=False),
    Column("recipient", Text, nullable=False),  # canonical
    Column("subject", Blob, nullable=False),
    Column("notify", Text, nullable=False),
    Column("orcpt", Text, nullable=False),
    Column("accepted_at", Big, nullable=False),
    Column("selector", Text, nullable=False),  # fixed at acceptance
    Column("token_key", Big),
    Column("token_day", Big),
    Column("last_reply", Text),  # JSON list: how its last attempt ended
    Column("is_delay_reported", SmallInteger, nullable=False),  # by a DSN, once
    Index(
        "deliveries_queue",
        "line",
        "band",
        "due_at",
        sqlite_where=text("state = 0"),
        postgresql_where=text("state = 0"),
    ),
    Index(
        "deliveries_expiry",
        "expires_at",
        sqlite_where=text(f"state = 0 AND expires_at < {NEVER_EXPIRES}"),
        postgresql_where=text(f"state = 0 AND expires_at < {NEVER_EXPIRES}"),
    ),
    Index(
        "deliveries_sending",
        "epoch",
        sqlite_where=text("state = 1"),
        postgresql_where=text("state = 1"),
    ),
    Index("deliveries_message", "message"),
    Index("deliveries_subject", "subject"),
)

#: Stops with a scope, a reason, an author and an end.
holds = Table(
    "holds",
    metadata,
    Column("id", Big, primary_key=True),
    Column("tenant", Big),  # whose hold it is; null: an operator's
    Column("scope", Text, nullable=False),  # JSON object: what it stops
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("ends_at", Big),
    Column("released_at", Big),
)


@lru_cache(maxsize=64)
def finished_of(day: date) -> Table:
    """Return the table of final deliveries that were accepted on ``day`` (UTC)."""
    name = f"finished_{day:%Y%m%d}"
    return Table(
        name,
        MetaData(),
        Column("id", Big, primary_key=True),
        Column("message", Big, nullable=False),
        Column("tenant", Big, nullable=False),
        Column("stream", Big, nullable=False),
        Column("campaign", Big),
        Column("recipient", Text, nullable=False),
        Column("subject", Blob, nullable=False),
        Column("state", SmallInteger, nullable=False),
        Column("attempt", SmallInteger, nullable=False),
        Column("ambiguous", SmallInteger, nullable=False),
        Column("source", Big),
        Column("accepted_at", Big, nullable=False),
        Column("finished_at", Big, nullable=False),
        Column("code", SmallInteger, nullable=False),  # 0: no reply
        Column("enhanced", Text, nullable=False),
        Column("reply", Text, nullable=False),
        Column("category", Text, nullable=False),
        Index(f"{name}_message", "message"),
    )
