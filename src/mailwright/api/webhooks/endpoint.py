"""An endpoint: where events go, how far it has read, how it is doing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from typing_extensions import override

from mailwright.api.ports import EventFilter
from mailwright.clock import from_micros, to_micros
from mailwright.events.types import EventType
from mailwright.ids import Kind, TenantId, WebhookId, format_public, parse_public
from mailwright.store.json_text import to_json
from mailwright.store.statements import Row, Value


class EndpointState(StrEnum):
    """Whether events go to an endpoint. The values are public."""

    ACTIVE = "active"  # they do
    FAILING = "failing"  # the last attempt failed; there will be another
    PAUSED = "paused"  # by its tenant, or since it failed for too long; may be resumed
    DISABLED = "disabled"  # it said 410 Gone; may be resumed

    @property
    def is_live(self) -> bool:
        """Whether there will be attempts."""
        return self in {EndpointState.ACTIVE, EndpointState.FAILING}


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that were dropped, at the end of their retention, before they were read.

    Attributes:
        after: the cursor before the first of them.
        until: the cursor after the last of them.
    """

    after: str
    until: str
    found_at: datetime

    def to_json(self) -> str:
        """Return it as its column has it."""
        members = {"after": self.after, "until": self.until}
        return to_json({**members, "found_at": to_micros(self.found_at)})

    @classmethod
    def parse(cls, text: str) -> "Gap | None":
        """Return the value of the column; ``""`` is none."""
        if not text:
            return None
        found = json.loads(text)
        return cls(found["after"], found["until"], from_micros(found["found_at"]))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of one tenant.

    Attributes:
        types: empty means all.
        campaign: only this one's; a public id, since it is shown as it was given.
        secret: sealed with the node key; ``old_secret`` likewise, it signs too until
            ``old_secret_until``.
        reason: why it is not active, for people.
        position: cursor; all events before it have arrived.
        offered: cursor; the batch under way is what lies between ``position`` and this,
            ``""``: none is.
        gap: to be told of before anything else.
        failures: attempts that failed in a row, the first of them at ``failing_since``.
        last_status: 0 when there was no answer; ``None`` before the first attempt.
        delivered_at: when a batch arrived last.
    """

    id: WebhookId
    tenant: TenantId
    name: str
    url: str
    types: frozenset[EventType]
    campaign: str | None
    secret: bytes
    created_at: datetime
    position: str
    old_secret: bytes | None = None
    old_secret_until: datetime | None = None
    state: EndpointState = EndpointState.ACTIVE
    reason: str = ""
    offered: str = ""
    gap: Gap | None = None
    failures: int = 0
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_status: int | None = None
    last_error: str = ""
    delivered_at: datetime | None = None

    @property
    def public(self) -> str:
        """Its public id."""
        return format_public(Kind.WEBHOOK, self.created_at, self.id)

    @property
    def wanted(self) -> EventFilter:
        """Which events go there."""
        campaign = self.campaign
        return EventFilter(
            self.types,
            campaign=None
            if campaign is None
            else parse_public(campaign, Kind.CAMPAIGN),
        )

    @override
    def __repr__(self) -> str:
        # A URL may hold what only the two sides are to know.
        return f"Endpoint({self.public}, {self.state})"

    def is_due(self, now: datetime) -> bool:
        """Whether an attempt may be made."""
        if not self.state.is_live:
            return False
        return self.next_attempt_at is None or self.next_attempt_at <= now

    def resumed(self) -> "Endpoint":
        """Return it as it is when it is told to go on: at once, with a clean slate."""
        return replace(
            self,
            state=EndpointState.ACTIVE,
            reason="",
            failures=0,
            failing_since=None,
            next_attempt_at=None,
        )

    def paused(self, reason: str) -> "Endpoint":
        """Return it as it is when nothing more is to be sent."""
        return replace(
            self, state=EndpointState.PAUSED, reason=reason, next_attempt_at=None
        )

    def moved_to(self, cursor: str) -> "Endpoint":
        """Return it reading on from ``cursor``; what was under way is forgotten."""
        return replace(self, position=cursor, offered="", gap=None)


def row_of(endpoint: Endpoint) -> Mapping[str, Value]:
    """Return the row of an endpoint."""
    return {
        "id": endpoint.id,
        "tenant": endpoint.tenant,
        "name": endpoint.name,
        "url": endpoint.url,
        "types": to_json(sorted(endpoint.types)),
        "campaign": endpoint.campaign,
        "secret": endpoint.secret,
        "old_secret": endpoint.old_secret,
        "old_secret_until": _micros(endpoint.old_secret_until),
        "created_at": to_micros(endpoint.created_at),
        "state": endpoint.state.value,
        "reason": endpoint.reason,
        "position": endpoint.position,
        "offered": endpoint.offered,
        "gap": "" if endpoint.gap is None else endpoint.gap.to_json(),
        "failures": endpoint.failures,
        "failing_since": _micros(endpoint.failing_since),
        "next_attempt_at": _micros(endpoint.next_attempt_at),
        "last_attempt_at": _micros(endpoint.last_attempt_at),
        "last_status": endpoint.last_status,
        "last_error": endpoint.last_error,
        "delivered_at": _micros(endpoint.delivered_at),
    }


#: The columns, in the order in which :func:`endpoint_of` takes them.
COLUMNS: Final = (
    *("id", "tenant", "name", "url", "types", "campaign", "secret", "old_secret"),
    *("old_secret_until", "created_at", "state", "reason", "position", "offered"),
    *("gap", "failures", "failing_since", "next_attempt_at", "last_attempt_at"),
    *("last_status", "last_error", "delivered_at"),
)


def endpoint_of(row: Row) -> Endpoint:
    """Return the endpoint in a row of :data:`COLUMNS`."""
    at = dict(zip(COLUMNS, row, strict=True))
    return Endpoint(
        id=WebhookId(at["id"]),
        tenant=TenantId(at["tenant"]),
        name=at["name"],
        url=at["url"],
        types=frozenset(map(EventType, json.loads(at["types"]))),
        campaign=at["campaign"],
        secret=at["secret"],
        old_secret=at["old_secret"],
        old_secret_until=_instant(at["old_secret_until"]),
        created_at=from_micros(at["created_at"]),
        state=EndpointState(at["state"]),
        reason=at["reason"],
        position=at["position"],
        offered=at["offered"],
        gap=Gap.parse(at["gap"]),
        failures=at["failures"],
        failing_since=_instant(at["failing_since"]),
        next_attempt_at=_instant(at["next_attempt_at"]),
        last_attempt_at=_instant(at["last_attempt_at"]),
        last_status=at["last_status"],
        last_error=at["last_error"],
        delivered_at=_instant(at["delivered_at"]),
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
