"""What the queue knows of the deliveries that events are about, read by the batch.

Events carry numbers. The address, what the receiver said word for word, and the labels of
message, campaign and recipient are joined when events are read, for as long as each is
kept.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, Table, bindparam, or_, select

from mailwright.queue.campaign.tables import campaigns, recipients
from mailwright.queue.tables import deliveries, finished_of, messages
from mailwright.store.json_text import to_json
from mailwright.store.statements import Bound, Query

#: Rows that one statement finds.
BATCH: Final = 100

_IDS: Final = tuple(f"id_{n}" for n in range(BATCH))
_LIKE_ESCAPE: Final = "!"


def _is_wanted(column: ColumnElement[int]) -> ColumnElement[bool]:
    return column.in_([bindparam(name) for name in _IDS])


#: (delivery, recipient) of those that are not final.
_OPEN: Final = Query(
    "open recipients",
    select(deliveries.c.id, deliveries.c.recipient).where(_is_wanted(deliveries.c.id)),
)
_MESSAGES: Final = Query(
    "labels of messages",
    select(
        messages.c.id,
        messages.c.tags,
        messages.c.metadata,
        recipients.c.metadata.label("recipient_metadata"),
    )
    .select_from(messages.outerjoin(recipients, recipients.c.message == messages.c.id))
    .where(_is_wanted(messages.c.id)),
)
_CAMPAIGNS: Final = Query(
    "labels of campaigns",
    select(
        campaigns.c.id,
        campaigns.c.created_at,
        campaigns.c.tags,
        campaigns.c.metadata,
    ).where(_is_wanted(campaigns.c.id)),
)


@lru_cache(maxsize=64)
def _finished(day: date) -> Query:
    table = finished_of(day)
    return Query(
        "final recipients",
        select(table.c.id, table.c.recipient, table.c.reply).where(
            _is_wanted(table.c.id)
        ),
    )


def open_recipients(ids: Iterable[int]) -> list[Bound]:
    """Return what reads (delivery, recipient) of deliveries that are not final."""
    return _batched(_OPEN, ids)


def final_recipients(day: date, ids: Iterable[int]) -> list[Bound]:
    """Return what reads (delivery, recipient, last reply) of those accepted on ``day``."""
    return _batched(_finished(day), ids)


def labels_of_messages(ids: Iterable[int]) -> list[Bound]:
    """Return what reads (message, tags, metadata, its recipient's metadata or null)."""
    return _batched(_MESSAGES, ids)


def labels_of_campaigns(ids: Iterable[int]) -> list[Bound]:
    """Return what reads (campaign, created_at, tags, metadata)."""
    return _batched(_CAMPAIGNS, ids)


def _batched(query: Query, ids: Iterable[int]) -> list[Bound]:
    return [query(**values) for values in _padded(iter(ids))]


def _padded(ids: Iterator[int]) -> Iterator[dict[str, int]]:
    while batch := list(islice(ids, BATCH)):
        batch += [batch[-1]] * (BATCH - len(batch))
        yield dict(zip(_IDS, batch, strict=True))


def may_have_tag(events: Table) -> ColumnElement[bool]:
    """Return the condition that an event's message or campaign may have the tag ``tag``.

    Bind :func:`tag_pattern` to ``tag``. It lets nothing with the tag out, and may let
    others in (upper and lower case are one to SQLite): look at what was joined.
    """
    pattern: BindParameter[str] = bindparam("tag")
    return or_(
        select(messages.c.id)
        .where(
            messages.c.id == events.c.message,
            messages.c.tags.like(pattern, escape=_LIKE_ESCAPE),
        )
        .exists(),
        select(campaigns.c.id)
        .where(
            campaigns.c.id == events.c.campaign,
            campaigns.c.tags.like(pattern, escape=_LIKE_ESCAPE),
        )
        .exists(),
    )


def tag_pattern(tag: str) -> str:
    """Return what a JSON list with ``tag`` in it is like."""
    text = to_json(tag)
    for char in (_LIKE_ESCAPE, "%", "_"):
        text = text.replace(char, _LIKE_ESCAPE + char)
    return f"%{text}%"
