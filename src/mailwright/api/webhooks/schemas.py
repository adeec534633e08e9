"""What clients say of endpoints, and what they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.events.types import EventType

_FORBID: Final = ConfigDict(extra="forbid", frozen=True)
_URL_CHARS: Final = 2048
_Types = Annotated[
    list[EventType], Field(max_length=len(EventType), description="Only these")
]


class WebhookIn(BaseModel):
    """An endpoint to create."""

    model_config = _FORBID

    url: str = Field(
        description="`https://…`, on an address that is globally routable",
        max_length=_URL_CHARS,
    )
    name: str = Field("", description="For people", max_length=255)
    types: _Types = Field(default_factory=list, description="Only these; none: all")
    campaign: str | None = Field(
        None, description="Only this one's events", max_length=64
    )
    after: str | None = Field(
        None,
        description='Begin after this cursor of `GET /v1/events`, with `""` at the'
        " oldest event kept; without it at the present",
        max_length=1024,
    )


class WebhookChangeIn(BaseModel):
    """What is to change of an endpoint; what is left out stays."""

    model_config = _FORBID

    url: str | None = Field(None, max_length=_URL_CHARS)
    name: str | None = Field(None, max_length=255)
    types: _Types | None = Field(None, description="Only these; an empty list: all")


class WebhookReplayIn(BaseModel):
    """From where an endpoint is to read on: one of the two."""

    model_config = _FORBID

    after: str | None = Field(
        None,
        description='A cursor of `GET /v1/events`; `""`: the oldest event kept',
        max_length=1024,
    )
    since: AwareDatetime | None = Field(
        None, description="What happened from then on, RFC 3339"
    )


class WebhookSecretIn(BaseModel):
    """How a secret is replaced."""

    model_config = _FORBID

    keep_old_hours: int = Field(
        24, ge=0, le=168, description="For so long the old one signs, too"
    )


@dataclass(frozen=True, slots=True)
class GapOut:
    """Events that were dropped at the end of their retention, before they were sent.

    Attributes:
        after: cursor before the first of them.
        until: cursor after the last of them.
    """

    after: str
    until: str
    found_at: datetime


@dataclass(frozen=True, slots=True)
class LagOut:
    """What is still to be sent.

    Attributes:
        events: how many; counted up to 1000.
        oldest_at: when the first of them happened.
    """

    events: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookOut:
    """An endpoint and how it is doing.

    Attributes:
        state: active; failing: another attempt comes; paused; disabled: it answered 410.
        reason: why it is not active.
        next: cursor after what it has taken; it reads on from there.
        lag: only where one endpoint is asked for.
        last_status: 0: no answer; null: there was no attempt yet.
        last_error: what went wrong with the last attempt.
        failures: attempts that failed in a row.
        delivered_at: when it took a batch last.
        old_secret_until: until then the secret before signs, too.
        gap: told with the next batch as an event `events.gap`.
    """

    id: str
    name: str
    url: str
    types: Sequence[EventType]
    campaign: str | None
    created_at: datetime
    state: str
    reason: str
    next: str
    lag: LagOut | None
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str
    delivered_at: datetime | None
    old_secret_until: datetime | None
    gap: GapOut | None


@dataclass(frozen=True, slots=True)
class WebhooksOut:
    """The endpoints of a tenant, the oldest first."""

    webhooks: Sequence[WebhookOut]


@dataclass(frozen=True, slots=True)
class WebhookMadeOut:
    """An endpoint that was made.

    Attributes:
        secret: `whsec_…`: what its batches are signed with; shown here once.
    """

    webhook: WebhookOut
    secret: str


@dataclass(frozen=True, slots=True)
class WebhookSecretOut:
    """The new secret of an endpoint.

    Attributes:
        secret: shown here once.
        old_secret_until: until then the one before signs, too.
    """

    secret: str
    old_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookTestOut:
    """How an endpoint answered a test event.

    Attributes:
        status: 0: it did not.
    """

    is_taken: bool
    status: int
    error: str


def shown(endpoint: Endpoint, now: datetime, lag: LagOut | None = None) -> WebhookOut:
    """Return what is shown of an endpoint: no secrets."""
    gap, until = endpoint.gap, endpoint.old_secret_until
    return WebhookOut(
        id=endpoint.public,
        name=endpoint.name,
        url=endpoint.url,
        types=sorted(endpoint.types),
        campaign=endpoint.campaign,
        created_at=endpoint.created_at,
        state=endpoint.state.value,
        reason=endpoint.reason,
        next=endpoint.position,
        lag=lag,
        failures=endpoint.failures,
        failing_since=endpoint.failing_since,
        next_attempt_at=endpoint.next_attempt_at,
        last_attempt_at=endpoint.last_attempt_at,
        last_status=endpoint.last_status,
        last_error=endpoint.last_error,
        delivered_at=endpoint.delivered_at,
        old_secret_until=until if until is not None and now < until else None,
        gap=None if gap is None else GapOut(gap.after, gap.until, gap.found_at),
    )
