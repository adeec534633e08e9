"""From staged rows to units of work: a slice of a seal. Values in, values out.

A slice is guarded by the position that the one before it reached: whatever dies in
between, a position gets its delivery once. Ids are taken anew by whoever goes on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Insert, bindparam, insert, literal_column, update
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.clock import to_micros
from mailwright.events.log import write_events
from mailwright.events.types import EventType
from mailwright.ids import Kind, public_digits, public_prefix
from mailwright.queue.campaign.job import Campaign, JobState
from mailwright.queue.campaign.ports import Reject, StagedRow
from mailwright.queue.campaign.tables import (
    campaign_totals,
    campaigns,
    recipients,
    rejects,
)
from mailwright.queue.delivery import State
from mailwright.queue.line import Line
from mailwright.queue.statements import ADD_TO_LINE
from mailwright.queue.tables import NEVER_EXPIRES, deliveries, messages
from mailwright.store.json_text import to_json
from mailwright.store.statements import Many, Query, Statement, Step, Unit, Urgency

#: Rows of one unit: about 4 ms of statements.
SLICE: Final = 100
#: Rejects of one unit; they have one table and no index beside its key.
REJECTS_SLICE: Final = 400
#: Characters of an address that a reject keeps.
MAX_ADDRESS: Final = 320


class Placed(NamedTuple):
    """A row with its ids and its line; a seed is a row too, with the number 0."""

    row: StagedRow
    message: int
    delivery: int
    line: Line
    is_seed: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that commit together.

    Attributes:
        after: the last position before them; the guard.
        to: their last position.
        from_domain: of Message-IDs.
        content_octets: of the content, which stands for the size of what it becomes.
        now: when it is written; events carry it.
    """

    campaign: Campaign
    after: int
    to: int
    placed: Sequence[Placed]
    from_domain: str
    content_octets: int
    node: int
    epoch: int
    sealed_at: datetime
    now: datetime


def _constant(query: Insert, **values: str) -> Insert:
    return query.values(
        {
            column.name: (
                literal_column(values[column.name])
                if column.name in values
                else bindparam(column.name)
            )
            for column in query.table.c
        }
    )


_MESSAGE: Final = Query(
    "insert message of campaign",
    _constant(insert(messages), is_complete="1", ret="''", envid="''", edits="'[]'"),
)
_MESSAGE_NAMES: Final = (
    *("id", "tenant", "credential", "stream", "campaign", "content", "accepted_at"),
    *("reverse_path", "sending_domain", "message_id", "size_octets", "tags"),
    "metadata",
)
_DELIVERY: Final = Query(
    "insert delivery of campaign",
    _constant(
        insert(deliveries),
        not_before="NULL",
        expires_at=str(NEVER_EXPIRES),
        state=str(int(State.QUEUED)),
        attempt="0",
        ambiguous="0",
        lost="0",
        epoch="NULL",
        source="NULL",
        notify="''",
        orcpt="''",
        token_key="NULL",  # noqa: S106 - a column
        token_day="NULL",  # noqa: S106 - a column
        last_reply="NULL",
        is_delay_reported="0",
    ),
)
_DELIVERY_NAMES: Final = (
    *("id", "message", "line", "band", "due_at", "tenant", "stream", "recipient"),
    *("subject", "accepted_at", "selector"),
)
_RECIPIENT: Final = Query(
    "insert recipient",
    _constant(
        insert(recipients),
        state=str(int(State.QUEUED)),
        category="''",
        code="0",
        enhanced="''",
        reply="''",
        at="NULL",
    ),
)
_RECIPIENT_NAMES: Final = (
    *("message", "campaign", "row", "delivery", "address", "fields", "metadata"),
    *("timezone", "variant", "is_seed"),
)
_REJECT: Final = Query("insert reject", insert(rejects))
_REJECT_NAMES: Final = ("campaign", "row", "address", "outcome", "reason")

_total = upsert(campaign_totals)
#: Adds ``count`` recipients in a state and category; makes the sum if it is not there.
ADD_TO_TOTAL: Final = Query(
    "add to total",
    _total.on_conflict_do_update(
        index_elements=[
            campaign_totals.c.campaign,
            campaign_totals.c.state,
            campaign_totals.c.category,
        ],
        set_={"count": campaign_totals.c.count + _total.excluded.count},
    ),
)
_sealing = (
    campaigns.c.id == bindparam("campaign_id"),
    campaigns.c.state == JobState.SEALING.value,
)
_ADVANCE: Final = Query(
    "advance seal",
    update(campaigns)
    .where(*_sealing, campaigns.c.sealed_rows == bindparam("after"))
    .values(sealed_rows=bindparam("to"))
    .returning(campaigns.c.id),
)
_ADVANCE_REJECTS: Final = Query(
    "advance rejects",
    update(campaigns)
    .where(*_sealing, campaigns.c.sealed_rejects == bindparam("after"))
    .values(
        sealed_rejects=bindparam("to"),
        **{
            name: campaigns.c[name] + bindparam(f"more_{name}")
            for name in ("duplicates", "invalid", "suppressed")
        },
    )
    .returning(campaigns.c.id),
)


def slice_unit(part: Slice) -> Unit:
    """Return the unit that writes ``part``; no row of its guard: not any more."""
    campaign = part.campaign
    guard = _ADVANCE(campaign_id=campaign.id, after=part.after, to=part.to)
    return Unit((Step(guard, _statements(part)),), Urgency.BULK, grows=True)


def _statements(part: Slice) -> tuple[Statement, ...]:
    campaign, placed = part.campaign, part.placed
    at = to_micros(part.sealed_at)
    tags = to_json(campaign.tags)
    domain, sealed_at = part.from_domain, part.sealed_at
    prefix = f"<{public_prefix(Kind.MESSAGE, sealed_at)}"
    head = (
        *(campaign.tenant, campaign.credential, campaign.stream, campaign.id),
        *(campaign.content, at, campaign.reverse_path, campaign.sending_domain),
    )
    messages_rows = [
        (
            each.message,
            *head,
            f"{prefix}{public_digits(each.message)}@{domain}>",
            part.content_octets,
            tags,
            each.row.metadata,
        )
        for each in placed
    ]
    deliveries_rows = [
        (
            *(each.delivery, each.message, each.line.id, each.row.band, at),
            *(campaign.tenant, campaign.stream, each.row.address, each.row.subject),
            *(at, campaign.selector),
        )
        for each in placed
    ]
    recipients_rows = [
        (
            *(each.message, campaign.id, each.row.row, each.delivery),
            *(each.row.address, each.row.fields.decode(), each.row.metadata),
            *(each.row.timezone, each.row.variant, int(each.is_seed)),
        )
        for each in placed
    ]
    events = write_events(
        part.node,
        part.now,
        EventType.RECEIVED,
        campaign.tenant,
        campaign.id,
        sealed_at.date(),
        ((each.message, each.delivery, each.row.subject) for each in placed),
    )
    return (
        Many(_MESSAGE, _MESSAGE_NAMES, messages_rows),
        Many(_DELIVERY, _DELIVERY_NAMES, deliveries_rows),
        Many(_RECIPIENT, _RECIPIENT_NAMES, recipients_rows),
        events,
        *_sums(part, at),
    )


def _sums(part: Slice, at: int) -> list[Statement]:
    """Return what counts the rows: their lines, and the campaign's totals."""
    lines = {each.line.id: each.line for each in part.placed}
    counts = Counter(each.line.id for each in part.placed)
    sums: list[Statement] = [
        ADD_TO_LINE(
            **lines[ident].key.to_row(),
            id=ident,
            count=count,
            next_due_at=at,
            hold=None,
            owner=part.node,
            epoch=part.epoch,
            until=None,
        )
        for ident, count in counts.items()
    ]
    if part.placed:
        sums.append(
            ADD_TO_TOTAL(
                campaign=part.campaign.id,
                state=int(State.QUEUED),
                category="",
                count=len(part.placed),
            )
        )
    return sums


def rejects_unit(campaign: Campaign, after: int, some: Sequence[Reject]) -> Unit:
    """Return the unit that stores the rejects behind the first ``after`` of them."""
    outcomes = Counter(each.outcome for each in some)
    guard = _ADVANCE_REJECTS(
        campaign_id=campaign.id,
        after=after,
        to=after + len(some),
        more_duplicates=outcomes["duplicate"],
        more_invalid=outcomes["invalid"],
        more_suppressed=outcomes["suppressed"],
    )
    rows = [
        (
            *(campaign.id, each.row, each.address[:MAX_ADDRESS]),
            *(each.outcome, each.reason),
        )
        for each in some
    ]
    then = (Many(_REJECT, _REJECT_NAMES, rows),)
    return Unit((Step(guard, then),), Urgency.BULK, grows=True)


class SeedRow(NamedTuple):
    """A seed among the rows."""

    position: int
    address: str
    domain: str
    subject: bytes
    fields: bytes
    row: int = 0
    band: int = 4
    timezone: str = ""
    variant: str = ""
    metadata: str = "{}"
