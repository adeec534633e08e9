"""What the API shows of campaigns: the members of its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mailwright.accounts.directory import Directory
from mailwright.api.schemas import AcceptedOut
from mailwright.ids import Kind, format_public
from mailwright.queue.campaign.job import CampaignRecord


class DeliveryState(StrEnum):
    """States of deliveries by their names: what a list is asked for."""

    QUEUED = "queued"
    SENDING = "sending"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RowsOut:
    """How many rows were sent, and what became of them.

    Attributes:
        uploaded: rows sent so far; the other four add up to it once it is sealed.
        accepted: rows that got a delivery.
        duplicate: rows whose recipient an earlier row names.
        invalid: rows without a right address, or with a wrong member.
        suppressed: rows whose recipient must not get this mail.
    """

    uploaded: int = 0
    accepted: int = 0
    duplicate: int = 0
    invalid: int = 0
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class DeliveriesOut:
    """How many deliveries are in each state, seeds among them."""

    queued: int = 0
    sending: int = 0
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    cancelled: int = 0
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class ProgressOut:
    """How far sealing is, in rows."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CampaignOut:
    """A campaign.

    Attributes:
        state: draft (takes uploads), sealing, ready, running, paused, held (by a rule;
            see `reason`), done, cancelled, failed (its list could not be read).
        start_wanted: it starts by itself as soon as it is sealed.
        pool: null: the stream's.
        asked: what else was asked for when it was created: `from`, `subject`,
            `template` and such.
        reason: why it is held, paused or failed, with the evidence.
        rows: of what was uploaded.
        categories: how many ended without being delivered, by what the reply meant.
        progress: while it is being sealed.
        rate_per_minute: deliveries that ended in the last minute.
        eta: when it will be done at this rate; null while that cannot be told.
    """

    id: str
    name: str
    state: str
    start_wanted: bool
    created_at: datetime
    stream: str
    pool: str | None
    priority: int
    pace: str | None
    window: Mapping[str, object] | None
    send_at: datetime | None
    expires_at: datetime | None
    list_url: str | None
    tags: Sequence[str]
    metadata: Mapping[str, str]
    asked: Mapping[str, object]
    sealed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    reason: Mapping[str, object] | None
    rows: RowsOut = field(default_factory=RowsOut)
    deliveries: DeliveriesOut = field(default_factory=DeliveriesOut)
    categories: Mapping[str, int] = field(default_factory=dict)
    progress: ProgressOut | None = None
    rate_per_minute: float | None = None
    eta: datetime | None = None


@dataclass(frozen=True, slots=True)
class CampaignsOut:
    """Campaigns, newest first.

    Attributes:
        next: for `after` of the next question; null at the end.
    """

    campaigns: Sequence[CampaignOut]
    next: str | None


@dataclass(frozen=True, slots=True)
class ChunkOut:
    """One upload of recipients.

    Attributes:
        rows: on stable storage; `Upload-Rows-Done` says it too.
        staged: rows that read well; what becomes of them is told when it is sealed.
        invalid: rows that do not; see `rejects` once it is sealed.
        finished: it has been read to its end; only then does it count.
    """

    key: str
    rows: int
    staged: int
    invalid: int
    finished: bool


@dataclass(frozen=True, slots=True)
class ChunksOut:
    """The uploads of a campaign, in the order they came."""

    chunks: Sequence[ChunkOut]


@dataclass(frozen=True, slots=True)
class FindingOut:
    """Something that a careful sender would look at.

    Attributes:
        code: of a closed list, for programs.
        severity: `error`, `warning` or `info`; with an error nothing would leave.
        where: the member, with its line where there is one: `html:12`.
        message: a sentence for people.
    """

    code: str
    severity: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class PreviewOut:
    """What one recipient would see.

    Attributes:
        author: the mailbox in From.
        text: as it was sent, or made from the html.
        headers: further fields, as they are spelled in the message.
        octets: of the whole message, before it is signed.
    """

    subject: str
    author: str
    html: str | None
    text: str | None
    headers: Mapping[str, str]
    octets: int
    lint: Sequence[FindingOut]


@dataclass(frozen=True, slots=True)
class TestedOut:
    """Test copies that were accepted."""

    messages: Sequence[AcceptedOut]


def public_id(record: CampaignRecord) -> str:
    """Return the string by which clients know a campaign."""
    return format_public(Kind.CAMPAIGN, record.created_at, record.id)


def campaign_out(record: CampaignRecord, directory: Directory) -> CampaignOut:
    """Return what is shown of ``record``."""
    stream = directory.streams.get(record.stream)
    pool = None if record.pool is None else directory.pools.get(record.pool)
    pace = record.pace_per_hour
    return CampaignOut(
        id=public_id(record),
        name=record.name,
        state=record.state.value,
        start_wanted=record.start_wanted,
        created_at=record.created_at,
        stream="" if stream is None else stream.name,
        pool=None if pool is None else pool.name,
        priority=record.priority,
        pace=None if pace is None else f"{pace}/h",
        window=record.window,
        send_at=record.send_at,
        expires_at=record.expires_at,
        list_url=record.list_url,
        tags=record.tags,
        metadata=record.metadata,
        asked=record.spec,
        sealed_at=record.sealed_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        reason=record.reason,
        rows=RowsOut(**record.rows),
        deliveries=DeliveriesOut(**record.deliveries),
        categories=record.categories,
        progress=None if record.progress is None else ProgressOut(*record.progress),
        rate_per_minute=record.rate_per_minute,
        eta=record.eta,
    )
