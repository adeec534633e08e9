"""★ What a campaign is, its states, and the only moves between them.

::

    draft ─► sealing ─► ready ─► running ⇄ paused
      │         │         (start)   │ ▲ held
      └► failed ◄┘                  ▼
         (start or seal again)     done        cancelled: from any but done

``start`` on a draft seals first: ``start_wanted`` is kept until the seal is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final

from mailwright.errors import MailwrightError
from mailwright.ids import (
    CampaignId,
    CredentialId,
    DeliveryId,
    MessageId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)


class JobState(StrEnum):
    """Where a campaign is; the text is what the database keeps."""

    DRAFT = "draft"  # takes uploads
    SEALING = "sealing"  # rows become deliveries
    READY = "ready"  # sealed, waits for its start
    RUNNING = "running"  # its deliveries leave, from ``send_at`` on
    PAUSED = "paused"  # by a person
    HELD = "held"  # by a rule, with its evidence
    DONE = "done"  # nothing of it is left to send
    CANCELLED = "cancelled"  # what is queued is taken back
    FAILED = "failed"  # its rows could not be had; may be started again


class Doing(StrEnum):
    """What moves a campaign."""

    SEAL = "seal"
    START = "start"
    SEALED = "sealed"  # by the node, when the last row has its delivery
    PAUSE = "pause"
    RESUME = "resume"
    HOLD = "hold"
    CANCEL = "cancel"
    FAIL = "fail"
    FINISH = "finish"


#: From which states each moves, and where to. ``SEALED`` goes on to running where the
#: start is wanted.
MOVES: Final[Mapping[Doing, Mapping[JobState, JobState]]] = {
    Doing.SEAL: {
        JobState.DRAFT: JobState.SEALING,
        JobState.FAILED: JobState.SEALING,
    },
    Doing.START: {
        JobState.DRAFT: JobState.SEALING,
        JobState.FAILED: JobState.SEALING,
        JobState.SEALING: JobState.SEALING,
        JobState.READY: JobState.RUNNING,
    },
    Doing.SEALED: {JobState.SEALING: JobState.READY},
    Doing.PAUSE: {JobState.RUNNING: JobState.PAUSED},
    Doing.RESUME: {
        JobState.PAUSED: JobState.RUNNING,
        JobState.HELD: JobState.RUNNING,
    },
    Doing.HOLD: {JobState.RUNNING: JobState.HELD},
    Doing.CANCEL: {
        each: JobState.CANCELLED
        for each in JobState
        if each not in {JobState.DONE, JobState.CANCELLED}
    },
    Doing.FAIL: {
        JobState.DRAFT: JobState.FAILED,
        JobState.SEALING: JobState.FAILED,
    },
    Doing.FINISH: {
        JobState.RUNNING: JobState.DONE,
        JobState.PAUSED: JobState.DONE,
        JobState.HELD: JobState.DONE,
    },
}
#: States in which rows may be uploaded.
TAKES_UPLOADS: Final = frozenset({JobState.DRAFT, JobState.FAILED})
#: States in which what was asked for may be changed.
CHANGEABLE: Final = frozenset(JobState) - {JobState.DONE, JobState.CANCELLED}


class JobStateError(MailwrightError):
    """The state of a campaign does not allow what was asked for."""

    def __init__(self, state: JobState, doing: str) -> None:
        super().__init__(f"a campaign that is {state.value} cannot take: {doing}")
        self.state = state
        self.doing = doing


def move(state: JobState, doing: Doing) -> JobState:
    """Return where ``doing`` leads from ``state``.

    Raises:
        JobStateError: nowhere.
    """
    found = MOVES[doing].get(state)
    if found is None:
        raise JobStateError(state, doing)
    return found


class Unchanged(Enum):
    """The type of :data:`UNCHANGED`."""

    UNCHANGED = "unchanged"


#: In a :class:`Change`: leave it as it is.
UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class Seed:
    """An address of the sender's that gets the campaign too, to watch it arrive.

    Attributes:
        email: canonical.
        every: one after each so many deliveries of the job; ``None``: not so.
        positions: one after each of these; those beyond the end come last.
    """

    email: str
    fields: Mapping[str, object] = field(default_factory=dict)
    every: int | None = None
    positions: tuple[int, ...] = ()

    def times(self, after: int, to: int, total: int) -> int:
        """Return how many of it belong behind positions ``after`` < p ≤ ``to``."""
        count = 0
        if self.every is not None:
            count = to // self.every - after // self.every
        last = to >= total
        return count + sum(
            after < each <= to or (last and each > to) for each in self.positions
        )


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """A campaign as it is asked for; everything in it has been checked.

    Attributes:
        reverse_path: canonical address.
        pool: ``None``: the stream's.
        content: JSON octets, see ``mta.compose.content``.
        spec: what else was asked for, as it is shown back.
        expires_at: ``None``: the lifetime of the stream's class, from its start.
        window: see ``queue.campaign.window``.
        priority: 0 to 7; lower goes first.
        thresholds: see ``queue.campaign.watch``; ``None``: the node's.
    """

    tenant: TenantId
    credential: CredentialId
    stream: StreamId
    sending_domain: SendingDomainId
    selector: str
    reverse_path: str
    content: bytes
    name: str = ""
    pool: PoolId | None = None
    spec: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    send_at: datetime | None = None
    expires_at: datetime | None = None
    window: Mapping[str, object] | None = None
    pace_per_hour: int | None = None
    priority: int = 4
    seeds: tuple[Seed, ...] = ()
    list_url: str | None = None
    thresholds: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of a campaign; ``None`` takes a limit away."""

    name: str | Unchanged = UNCHANGED
    pace_per_hour: int | Unchanged | None = UNCHANGED
    pool: PoolId | Unchanged | None = UNCHANGED
    window: Mapping[str, object] | Unchanged | None = UNCHANGED
    expires_at: datetime | Unchanged | None = UNCHANGED
    priority: int | Unchanged = UNCHANGED


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the node keeps it in memory while it is open.

    Attributes:
        content: of ``contents``; 0 when it is not kept any more.
        sealed_at: when its deliveries were accepted, all of them at once.
        sealed_rows: positions that have their deliveries.
        sealed_rejects: likewise of rows that get none.
        row_count: positions there are; ``None`` until they are counted.
        duplicates: rows that got no delivery because of an earlier one.
        suppressed: rows that were not taken in; who is suppressed later is a recipient.
        dated_at: Date and DKIM ``t=`` of its mail.
        reason: why it is held, paused or failed.
        finished_at: when nothing of it was left to send.
        is_moving: lines of it may still be in another pool than it is to use.
        totals: recipients, seeds with them, by state (a number of
            ``queue.delivery.State``) and category; as of a second ago.
    """

    id: CampaignId
    tenant: TenantId
    credential: CredentialId
    stream: StreamId
    name: str
    state: JobState
    start_wanted: bool
    content: int
    sending_domain: SendingDomainId
    selector: str
    reverse_path: str
    pool: PoolId | None
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    seeds: tuple[Seed, ...]
    list_url: str | None
    thresholds: Mapping[str, object] | None
    created_at: datetime
    sealed_at: datetime | None
    sealed_rows: int
    sealed_rejects: int
    row_count: int | None
    duplicates: int
    invalid: int
    suppressed: int
    started_at: datetime | None
    dated_at: datetime | None
    send_at: datetime | None
    expires_at: datetime | None
    window: Mapping[str, object] | None
    pace_per_hour: int | None
    priority: int
    reason: Mapping[str, object] | None
    finished_at: datetime | None
    is_moving: bool = False
    totals: Mapping[tuple[int, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CampaignRecord:
    """A campaign as it is shown.

    Attributes:
        rows: ``uploaded`` (of what is sealed), ``accepted``, ``duplicate``, ``invalid``,
            ``suppressed``; seeds are not counted.
        deliveries: recipients by the name of their delivery's state.
        categories: of those that ended, by category where there is one.
        progress: positions done and there are, while it is sealed.
        rate_per_minute: deliveries that ended in the last minute; ``None``: unknown.
        eta: when the last one should have left; ``None``: unknown.
    """

    id: CampaignId
    tenant: TenantId
    credential: CredentialId
    stream: StreamId
    sending_domain: SendingDomainId
    selector: str
    pool: PoolId | None
    created_at: datetime
    name: str
    state: JobState
    start_wanted: bool
    spec: Mapping[str, object]
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    send_at: datetime | None
    expires_at: datetime | None
    window: Mapping[str, object] | None
    pace_per_hour: int | None
    priority: int
    sealed_at: datetime | None = None
    started_at: datetime | None = None
    dated_at: datetime | None = None
    finished_at: datetime | None = None
    reason: Mapping[str, object] | None = None
    list_url: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)
    progress: tuple[int, int] | None = None
    rate_per_minute: float | None = None
    eta: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecipientRecord:
    """What became of one recipient.

    Attributes:
        row: of what was uploaded, from 1; 0 for a seed.
        fields: JSON object.
        metadata: JSON object.
        state: name of its delivery's state; ``queued`` while it is under way.
        category: what its last reply meant.
        code: of that reply; 0: there was none.
        at: when it became final.
    """

    row: int
    message: MessageId
    delivery: DeliveryId
    address: str
    fields: str
    metadata: str
    timezone: str
    variant: str
    is_seed: bool
    state: str
    category: str
    code: int
    enhanced: str
    reply: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class RejectRecord:
    """A row that got no delivery; ``outcome``: duplicate, invalid or suppressed."""

    row: int
    address: str
    outcome: str
    reason: str
