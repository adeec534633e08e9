"""A campaign's row and its value, both ways."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert

from mailwright.clock import from_micros, to_micros
from mailwright.ids import (
    CampaignId,
    CredentialId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)
from mailwright.queue.campaign.job import Campaign, JobState, NewCampaign, Seed
from mailwright.queue.campaign.tables import campaigns
from mailwright.store.json_text import to_json
from mailwright.store.statements import Bound, Query, Row, Value

_c = campaigns.c
#: What :func:`campaign_of` reads, in its order.
COLUMNS: Final = (
    *(_c.id, _c.tenant, _c.credential, _c.stream, _c.name, _c.state, _c.start_wanted),
    *(_c.content, _c.sending_domain, _c.selector, _c.reverse_path, _c.pool),
    *(_c.metadata, _c.tags, _c.seeds, _c.list_url, _c.thresholds, _c.created_at),
    *(_c.sealed_at, _c.sealed_rows, _c.sealed_rejects, _c.rows, _c.duplicates),
    *(_c.invalid, _c.suppressed, _c.started_at, _c.dated_at, _c.send_at),
    *(_c.expires_at, _c.window, _c.pace_per_hour, _c.priority, _c.reason),
    *(_c.finished_at, _c.is_moving),
)
_INSERT: Final = Query("insert campaign", insert(campaigns))


def kept(value: Any) -> Value:
    """Return ``value`` as a column keeps it: instants in microseconds, JSON as text."""
    if isinstance(value, datetime):
        return to_micros(value)
    return to_json(value) if isinstance(value, Mapping) else value


def insert_campaign(
    campaign: CampaignId, content: int, new: NewCampaign, *, at: datetime
) -> Bound:
    """Return the insertion of ``new`` as a draft."""
    return _INSERT(**_new_row(campaign, content, new, at))


def _new_row(
    campaign: CampaignId, content: int, new: NewCampaign, at: datetime
) -> dict[str, Value]:
    row: dict[str, Value] = {column.name: None for column in _c}
    row |= dict.fromkeys(
        (
            *("start_wanted", "sealed_rows", "sealed_rejects", "is_moving"),
            *("duplicates", "invalid", "suppressed"),
        ),
        0,
    )
    return row | {
        "id": campaign,
        "tenant": new.tenant,
        "credential": new.credential,
        "stream": new.stream,
        "name": new.name,
        "state": JobState.DRAFT.value,
        "content": content,
        "sending_domain": new.sending_domain,
        "selector": new.selector,
        "reverse_path": new.reverse_path,
        "pool": new.pool,
        "spec": to_json(new.spec),
        "metadata": to_json(new.metadata),
        "tags": to_json(new.tags),
        "seeds": to_json(
            [
                {
                    "email": each.email,
                    "fields": each.fields,
                    "every": each.every,
                    "positions": each.positions,
                }
                for each in new.seeds
            ]
        ),
        "list_url": new.list_url,
        "thresholds": kept(new.thresholds),
        "created_at": to_micros(at),
        "send_at": kept(new.send_at),
        "expires_at": kept(new.expires_at),
        "window": kept(new.window),
        "pace_per_hour": new.pace_per_hour,
        "priority": new.priority,
    }


def campaign_of(row: Row) -> Campaign:
    """Return the value of a row that begins with :data:`COLUMNS`."""
    return Campaign(
        CampaignId(row[0]),
        TenantId(row[1]),
        CredentialId(row[2]),
        StreamId(row[3]),
        row[4],
        JobState(row[5]),
        bool(row[6]),
        row[7],
        SendingDomainId(row[8]),
        row[9],
        row[10],
        None if row[11] is None else PoolId(row[11]),
        json.loads(row[12]),
        tuple(json.loads(row[13])),
        tuple(_seed_of(each) for each in json.loads(row[14])),
        row[15],
        _json(row[16]),
        from_micros(row[17]),
        _instant(row[18]),
        row[19],
        row[20],
        row[21],
        row[22],
        row[23],
        row[24],
        _instant(row[25]),
        _instant(row[26]),
        _instant(row[27]),
        _instant(row[28]),
        _json(row[29]),
        row[30],
        row[31],
        _json(row[32]),
        _instant(row[33]),
        bool(row[34]),
    )


def draft_row(insertion: Bound) -> Row:
    """Return what :func:`insert_campaign` inserts, as a row of :data:`COLUMNS`."""
    return tuple(insertion.params[column.name] for column in COLUMNS)


def _seed_of(seed: Mapping[str, Any]) -> Seed:
    return Seed(seed["email"], seed["fields"], seed["every"], tuple(seed["positions"]))


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _json(text: str | None) -> Mapping[str, object] | None:
    return None if text is None else json.loads(text)
