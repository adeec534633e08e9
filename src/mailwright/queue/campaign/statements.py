"""Statements on campaigns themselves: made, read, moved, changed.

Every move is one conditional update: it names the states that it leads from, and returns
the row as it is then, or none when the campaign was in another.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Update,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from mailwright.clock import to_micros
from mailwright.ids import (
    CampaignId,
    TenantId,
)
from mailwright.queue.campaign.job import (
    CHANGEABLE,
    MOVES,
    UNCHANGED,
    Change,
    Doing,
    JobState,
)
from mailwright.queue.campaign.stored import COLUMNS, kept
from mailwright.queue.campaign.tables import campaign_totals, campaigns
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries, lines
from mailwright.store.json_text import to_json
from mailwright.store.statements import Bound, Query, Value

_c = campaigns.c
#: One campaign with its ``spec`` behind; 0 is any tenant.
ONE_CAMPAIGN: Final = Query(
    "one campaign",
    select(*COLUMNS, _c.spec).where(
        _c.id == bindparam("campaign_id"),
        or_(_c.tenant == bindparam("tenant"), bindparam("tenant") == 0),
    ),
)
#: The newest first.
CAMPAIGNS_OF_TENANT: Final = Query(
    "campaigns of tenant",
    select(*COLUMNS, _c.spec)
    .where(
        _c.tenant == bindparam("tenant"),
        _c.id < bindparam("before"),
        or_(_c.state == bindparam("in_state"), bindparam("in_state") == ""),
    )
    .order_by(_c.id.desc())
    .limit(bindparam("page")),
)
OPEN_CAMPAIGNS: Final = Query(
    "open campaigns",
    select(*COLUMNS)
    .where(_c.finished_at.is_(None), _c.id > bindparam("after"))
    .order_by(_c.id)
    .limit(bindparam("page")),
)
TOTALS_OF_CAMPAIGN: Final = Query(
    "totals of campaign",
    select(
        campaign_totals.c.state, campaign_totals.c.category, campaign_totals.c.count
    ).where(campaign_totals.c.campaign == bindparam("campaign_id")),
)
TOTALS_OF_OPEN: Final = Query(
    "totals of open campaigns",
    select(
        campaign_totals.c.campaign,
        campaign_totals.c.state,
        campaign_totals.c.category,
        campaign_totals.c.count,
    )
    .select_from(
        campaigns.join(campaign_totals, campaign_totals.c.campaign == campaigns.c.id)
    )
    .where(_c.finished_at.is_(None)),
)
#: How many deliveries of a campaign are under way. Few are, of all campaigns.
SENDING_OF_CAMPAIGN: Final = Query(
    "sending of campaign",
    select(func.count())
    .select_from(deliveries.join(lines, deliveries.c.line == lines.c.id))
    .where(
        # The partial index is only used when the state stands in the text.
        deliveries.c.state == literal_column(str(int(State.SENDING))),
        deliveries.c.epoch == bindparam("my_epoch"),
        lines.c.campaign == bindparam("campaign_id"),
    ),
)

_NOW: Final[ColumnElement[int]] = bindparam("now")
_begins: ColumnElement[int] = case(
    (func.coalesce(_c.send_at, 0) > _NOW, _c.send_at), else_=_NOW
)
#: What a first start fixes.
_STARTED: Final[Mapping[str, ColumnElement[Any]]] = {
    "started_at": func.coalesce(_c.started_at, _NOW),
    "dated_at": func.coalesce(_c.dated_at, _begins),
    "expires_at": func.coalesce(_c.expires_at, _begins + bindparam("lifetime")),
}


def _if(condition: ColumnElement[bool]) -> dict[str, ColumnElement[Any]]:
    """Return :data:`_STARTED` where ``condition`` holds."""
    return {
        name: case((condition, value), else_=_c[name])
        for name, value in _STARTED.items()
    }


#: What each move sets beside the state.
_SETS: Final[Mapping[Doing, Mapping[str, Any]]] = {
    Doing.SEAL: {"reason": null()},
    Doing.START: {
        **_if(_c.state == JobState.READY.value),
        "start_wanted": case((_c.state == JobState.READY.value, 0), else_=1),
        "reason": null(),
    },
    Doing.SEALED: {**_if(_c.start_wanted == 1), "start_wanted": 0},
    Doing.PAUSE: {"reason": bindparam("why")},
    Doing.RESUME: {"reason": bindparam("why")},
    Doing.HOLD: {"reason": bindparam("why")},
    # Without deliveries nothing is left to be taken back.
    Doing.CANCEL: {
        "start_wanted": 0,
        "reason": bindparam("why"),
        "finished_at": case((_c.sealed_at.is_(None), _NOW), else_=null()),
    },
    Doing.FAIL: {"start_wanted": 0, "reason": bindparam("why")},
    Doing.FINISH: {"finished_at": _NOW},
}


def _of_campaign(query: Update, states: Iterable[JobState]) -> Update:
    return query.where(
        _c.id == bindparam("campaign_id"),
        or_(_c.tenant == bindparam("tenant"), bindparam("tenant") == 0),
        _c.state.in_([each.value for each in sorted(states)]),
    )


def _move(doing: Doing) -> Query:
    leads = MOVES[doing]
    to: ColumnElement[str] = case(
        *((_c.state == here.value, there.value) for here, there in leads.items())
    )
    if doing is Doing.SEALED:
        to = case((_c.start_wanted == 1, JobState.RUNNING.value), else_=to)
    query = _of_campaign(update(campaigns), leads).values(state=to, **_SETS[doing])
    if doing is Doing.SEALED:
        query = query.where(_c.sealed_rows == _c.rows)
    if doing is Doing.FINISH:
        query = query.where(_nothing_queued)
    return Query(f"{doing.value} campaign", query.returning(*COLUMNS))


_nothing_queued = (
    ~select(literal_column("1"))
    .where(
        campaign_totals.c.campaign == _c.id,
        campaign_totals.c.state == int(State.QUEUED),
        campaign_totals.c.count > 0,
    )
    .exists()
)
_MOVES: Final = {doing: _move(doing) for doing in Doing}
#: A cancelled campaign of which nothing is queued any more.
CANCELLED_TO_THE_END: Final = Query(
    "cancelled to the end",
    update(campaigns)
    .where(
        _c.id == bindparam("campaign_id"),
        _c.state == JobState.CANCELLED.value,
        _c.finished_at.is_(None),
        _nothing_queued,
    )
    .values(finished_at=_NOW)
    .returning(*COLUMNS),
)
#: The positions are counted: what is written from now on is accepted at ``now``.
BEGIN_SEAL: Final = Query(
    "begin seal",
    update(campaigns)
    .where(
        _c.id == bindparam("campaign_id"),
        _c.state == JobState.SEALING.value,
        _c.sealed_at.is_(None),
    )
    .values(sealed_at=_NOW, rows=bindparam("positions"))
    .returning(*COLUMNS),
)


def move_campaign(
    doing: Doing,
    campaign: CampaignId,
    tenant: TenantId | None,
    *,
    now: datetime,
    lifetime_micros: int = 0,
    why: Mapping[str, object] | None = None,
) -> Bound:
    """Return the update that makes the move, if the campaign's state allows it.

    Args:
        doing: the move.
        campaign: whose.
        tenant: ``None`` is the node itself.
        now: the time of the move.
        lifetime_micros: for how long its mail is tried where nothing else is said.
        why: what to keep as its reason.
    """
    values: dict[str, Value] = {
        "campaign_id": campaign,
        "tenant": tenant or 0,
        "now": to_micros(now),
        "lifetime": lifetime_micros,
        "why": None if why is None else to_json(why),
    }
    return _MOVES[doing](**values)


_CHANGE: Final = Query(
    "change campaign",
    _of_campaign(update(campaigns), CHANGEABLE)
    .values(
        **{
            name: case(
                (bindparam(f"has_{name}") == 1, bindparam(f"new_{name}")),
                else_=_c[name],
            )
            for name in (
                *("name", "pace_per_hour", "pool", "window", "expires_at"),
                "priority",
            )
        },
        is_moving=case((bindparam("has_pool") == 1, 1), else_=_c.is_moving),
    )
    .returning(*COLUMNS),
)


#: All lines of a campaign are in its pool, unless that is another one by now.
MOVED: Final = Query(
    "campaign moved",
    update(campaigns)
    .where(
        _c.id == bindparam("campaign_id"),
        _c.is_moving == 1,
        _c.pool.is_not_distinct_from(bindparam("to_pool")),
    )
    .values(is_moving=0)
    .returning(*COLUMNS),
)


def change_campaign(campaign: CampaignId, tenant: TenantId, change: Change) -> Bound:
    """Return the update that makes ``change``; no row: there is nothing to change."""
    new: dict[str, Any] = {
        "name": change.name,
        "pace_per_hour": change.pace_per_hour,
        "pool": change.pool,
        "window": change.window,
        "expires_at": change.expires_at,
        "priority": change.priority,
    }
    values: dict[str, Any] = {"campaign_id": campaign, "tenant": tenant}
    for name, value in new.items():
        values[f"has_{name}"] = int(value is not UNCHANGED)
        values[f"new_{name}"] = None if value is UNCHANGED else kept(value)
    return _CHANGE(**values)
