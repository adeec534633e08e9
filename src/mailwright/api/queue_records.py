"""The queue's documents: what its routes take and answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mailwright.api.hold_view import HoldOut

_Name: TypeAlias = Annotated[str | None, Field(max_length=255)]
_Number: TypeAlias = Annotated[
    str | None, Field(max_length=20, pattern="^[0-9]+$", description="Its id")
]


class SelectionIn(BaseModel):
    """What it is for; every part that is given must hold, and one must be given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tenant: _Name = None
    stream: _Name = None
    domain: _Name = None
    provider: _Name = None
    pool: _Name = None
    line: _Number = None
    campaign: _Number = None
    id: Annotated[
        str | None, Field(max_length=40, description="`msg_…` or `dlv_…`")
    ] = None


class GroupBy(StrEnum):
    """What a summary adds up by."""

    TENANT = "tenant"
    STREAM = "stream"
    DOMAIN = "domain"
    PROVIDER = "provider"
    POOL = "pool"
    CAMPAIGN = "campaign"


@dataclass(frozen=True, slots=True)
class ExtentOut:
    """What an operation is for, or was.

    Attributes:
        deliveries: that wait.
        under_way: in a session at this moment; they are left alone.
        unresolved: domains whose provider is not known; they are left out.
        hold: made by it; null otherwise.
        dry_run: nothing was done.
    """

    lines: int
    deliveries: int
    under_way: int
    unresolved: int
    hold: str | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ReleasedOut:
    """Which holds ended, and what they had stopped."""

    holds: Sequence[HoldOut]
    extent: ExtentOut


@dataclass(frozen=True, slots=True)
class BlockOut:
    """What stops a line: hold, campaign, rest, time, permit, connections, lookup."""

    by: str
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class LineOut:
    """A line with mail.

    Attributes:
        campaign: its id; null when it is of none.
        due_at: of its next delivery; null when all are under way.
        blocked: what stops it now; null when nothing does.
    """

    id: str
    tenant: str
    stream: str
    domain: str
    provider: str | None
    pool: str
    deliveries: int
    under_way: int
    due_at: datetime | None
    blocked: BlockOut | None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class LinesOut:
    """Lines by id.

    Attributes:
        next: ``after`` of the next question; null at the end.
    """

    lines: Sequence[LineOut]
    next: str | None


@dataclass(slots=True)
class GroupOut:
    """What waits, added up."""

    name: str
    lines: int = 0
    deliveries: int = 0
    under_way: int = 0
    held: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class SummaryOut:
    """The queue, added up; the largest groups first."""

    total: GroupOut
    groups: Sequence[GroupOut]


@dataclass(frozen=True, slots=True)
class WaitingOut:
    """A delivery that is not final."""

    id: str
    message: str
    recipient: str
    state: str
    attempts: int
    due_at: datetime
    expires_at: datetime
    last_reply: str | None
    line: LineOut
