"""What became of a campaign's rows: pages of them, and the sums. Reads only.

Pages go by key on read-only connections, a stretch of keys at a time: a filter that few
pass never makes one read long.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from sqlalchemy import bindparam, func, or_, select

from mailwright.clock import from_micros
from mailwright.errors import MailwrightError
from mailwright.ids import CampaignId, DeliveryId, MessageId
from mailwright.queue.campaign.job import (
    Campaign,
    CampaignRecord,
    JobState,
    RecipientRecord,
    RejectRecord,
)
from mailwright.queue.campaign.tables import recipients, rejects
from mailwright.queue.delivery import FINAL, State
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Row

T = TypeVar("T")

MAX_PAGE: Final = 1_000
#: Keys that one read looks at: some tens of milliseconds.
_STRETCH: Final = 20_000
_ANY_STATE: Final = -1

_keys = (
    select(recipients.c.message)
    .where(
        recipients.c.campaign == bindparam("campaign_id"),
        recipients.c.message > bindparam("after"),
    )
    .order_by(recipients.c.message)
    .limit(bindparam("stretch"))
    .subquery("stretch")
)
_STRETCH_END: Final = Query("end of a stretch", select(func.max(_keys.c.message)))
_RECIPIENTS: Final = Query(
    "recipients of campaign",
    select(
        recipients.c.row,
        recipients.c.message,
        recipients.c.delivery,
        recipients.c.address,
        recipients.c.fields,
        recipients.c.metadata,
        recipients.c.timezone,
        recipients.c.variant,
        recipients.c.is_seed,
        recipients.c.state,
        recipients.c.category,
        recipients.c.code,
        recipients.c.enhanced,
        recipients.c.reply,
        recipients.c.at,
    )
    .where(
        recipients.c.campaign == bindparam("campaign_id"),
        recipients.c.message > bindparam("after"),
        recipients.c.message <= bindparam("to"),
        or_(
            recipients.c.state == bindparam("in_state"),
            bindparam("in_state") == _ANY_STATE,
        ),
        or_(
            recipients.c.category == bindparam("in_category"),
            bindparam("in_category") == "",
        ),
    )
    .order_by(recipients.c.message)
    .limit(bindparam("page")),
)
_REJECTS: Final = Query(
    "rejects of campaign",
    select(rejects.c.row, rejects.c.address, rejects.c.outcome, rejects.c.reason)
    .where(
        rejects.c.campaign == bindparam("campaign_id"),
        rejects.c.row > bindparam("after"),
    )
    .order_by(rejects.c.row)
    .limit(bindparam("page")),
)


class PageKeyError(MailwrightError):
    """Not a key of a page that we gave out."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Records in the order of their keys.

    Attributes:
        next: what to ask for next; ``None``: there is no more.
    """

    records: Sequence[T]
    next: str | None


async def read_recipients(
    store: UnitStore,
    campaign: CampaignId,
    *,
    state: State | None,
    category: str,
    after: str,
    limit: int,
) -> Page[RecipientRecord]:
    """Return up to ``limit`` recipients behind ``after``; ``""``: from the first.

    ``sending`` is asked for as ``queued``: these tables do not tell the two apart.

    Raises:
        PageKeyError: ``after`` is no key of ours.
        StoreError: they cannot be read.
    """
    key, limit = key_of(after, -1), min(limit, MAX_PAGE)
    found: list[RecipientRecord] = []
    while True:
        ((end,),) = (
            await store.read(
                _STRETCH_END(campaign_id=campaign, after=key, stretch=_STRETCH)
            )
        )[0]
        if end is None:
            return Page(found, None)
        (rows,) = await store.read(
            _RECIPIENTS(
                campaign_id=campaign,
                after=key,
                to=end,
                in_state=_ANY_STATE if state is None else int(state),
                in_category=category,
                page=limit - len(found),
            )
        )
        found += map(_recipient_of, rows)
        if len(found) == limit:
            return Page(found, str(found[-1].message))
        key = end


async def read_rejects(
    store: UnitStore, campaign: CampaignId, *, after: str, limit: int
) -> Page[RejectRecord]:
    """Return up to ``limit`` rows that got no delivery, in the order of the upload.

    Raises:
        PageKeyError: ``after`` is no key of ours.
        StoreError: they cannot be read.
    """
    limit = min(limit, MAX_PAGE)
    (rows,) = await store.read(
        _REJECTS(campaign_id=campaign, after=key_of(after, -1), page=limit)
    )
    records = [RejectRecord(*row) for row in rows]
    return Page(records, str(records[-1].row) if len(records) == limit else None)


def key_of(after: str, beginning: int) -> int:
    """Return the number in a page's key; ``""`` is ``beginning``.

    Raises:
        PageKeyError: it is no key of ours.
    """
    if not after:
        return beginning
    if not after.isascii() or not after.isdecimal() or len(after) > 18:
        raise PageKeyError("not a key of a page")
    return int(after)


def _recipient_of(row: Row) -> RecipientRecord:
    return RecipientRecord(
        row[0],
        MessageId(row[1]),
        DeliveryId(row[2]),
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        bool(row[8]),
        State(row[9]).name.lower(),
        row[10],
        row[11],
        row[12],
        row[13],
        None if row[14] is None else from_micros(row[14]),
    )


def record_of(
    campaign: Campaign,
    spec: Mapping[str, object],
    totals: Iterable[tuple[int, str, int]],
    *,
    sending: int,
    rate_per_minute: float | None,
    now: datetime,
) -> CampaignRecord:
    """Return ``campaign`` as it is shown, with its sums.

    ``totals`` are (state, category, count) of its recipients; ``sending`` of those that
    are queued are under way.
    """
    deliveries = dict.fromkeys((each.name.lower() for each in State), 0)
    categories: dict[str, int] = {}
    for state, category, count in totals:
        deliveries[State(state).name.lower()] += count
        if State(state) in FINAL and category and count:
            categories[category] = categories.get(category, 0) + count
    left = deliveries["queued"]
    sending = min(sending, left)
    deliveries["queued"], deliveries["sending"] = left - sending, sending
    accepted, refused = (
        campaign.sealed_rows,
        {
            "duplicate": campaign.duplicates,
            "invalid": campaign.invalid,
            "suppressed": campaign.suppressed,
        },
    )
    progress = None
    if campaign.state is JobState.SEALING and campaign.row_count is not None:
        progress = accepted, campaign.row_count
    return CampaignRecord(
        campaign.id,
        campaign.tenant,
        campaign.credential,
        campaign.stream,
        campaign.sending_domain,
        campaign.selector,
        campaign.pool,
        campaign.created_at,
        campaign.name,
        campaign.state,
        campaign.start_wanted,
        spec,
        campaign.metadata,
        campaign.tags,
        campaign.send_at,
        campaign.expires_at,
        campaign.window,
        campaign.pace_per_hour,
        campaign.priority,
        campaign.sealed_at,
        campaign.started_at,
        campaign.dated_at,
        campaign.finished_at,
        campaign.reason,
        campaign.list_url,
        {
            "uploaded": accepted + sum(refused.values()),
            "accepted": accepted,
            **refused,
        },
        deliveries,
        categories,
        progress,
        rate_per_minute,
        eta_of(campaign, left, rate_per_minute, now),
    )


def eta_of(
    campaign: Campaign, left: int, rate_per_minute: float | None, now: datetime
) -> datetime | None:
    """Return when the last of ``left`` deliveries should have left; ``None``: unknown.

    What a window will let through is not known before it opens, so a campaign that has
    one is not promised anything; nor is one that does not run.
    """
    if campaign.state is not JobState.RUNNING or not left or campaign.window:
        return None
    begins = now if campaign.send_at is None else max(now, campaign.send_at)
    hours = []
    if campaign.pace_per_hour:
        hours.append(left / campaign.pace_per_hour)
    if rate_per_minute and begins == now:
        hours.append(left / rate_per_minute / 60)
    try:
        return begins + timedelta(hours=max(hours)) if hours else None
    except OverflowError:
        return None
