"""Suppressions' documents: what their routes take and answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mailwright.bounce.suppression import Reason

#: Addresses of one request.
ADDRESSES_MAX: Final = 10_000
#: Characters of one, as it is given.
ADDRESS_CHARS: Final = 1024


class ScopeIn(BaseModel):
    """Whose mail is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = Field(
        None, max_length=255, description="For operators; needed with several tenants"
    )
    everyone: bool = Field(
        False, description="All tenants' mail; for operators, in place of a tenant"
    )
    stream: str | None = Field(
        None, max_length=255, description="Only this stream; otherwise all of them"
    )


class SuppressionsIn(ScopeIn):
    """Addresses that must not be mailed."""

    addresses: list[Annotated[str, Field(max_length=ADDRESS_CHARS)]] = Field(
        min_length=1,
        max_length=ADDRESSES_MAX,
        description="Kept as subjects only: they cannot be listed again",
    )
    reason: Reason = Reason.MANUAL
    note: str = Field(
        "", max_length=500, description="Why, for people; name no address in it"
    )
    ends_at: AwareDatetime | None = Field(
        None, description="When mail may leave again; without it never by itself"
    )


@dataclass(frozen=True, slots=True)
class InvalidOut:
    """An address that is none.

    Attributes:
        index: its place in ``addresses``, from 0.
    """

    index: int
    message: str


@dataclass(frozen=True, slots=True)
class AddedOut:
    """What became of the addresses; the three add up to those that were sent.

    Attributes:
        added: are suppressed now and were not.
        kept: were suppressed before, for a reason that stays.
        invalid: are no addresses; the others are suppressed all the same.
    """

    added: int
    kept: int
    invalid: Sequence[InvalidOut]


@dataclass(frozen=True, slots=True)
class SuppressionOut:
    """One suppression.

    Attributes:
        subject: stands for the address, always the same one on this node.
        tenant: its name; null for everyone's.
        stream: its name; null for all of them.
        reason: manual, import, hard_bounce, complaint, unsubscribe, or a rule's own.
        is_provisional: it may be undone together with others of its kind.
    """

    subject: str
    tenant: str | None
    stream: str | None
    reason: str
    note: str
    author: str
    created_at: datetime
    ends_at: datetime | None
    is_provisional: bool


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """What stops mail to an address.

    Attributes:
        email: as it is on the wire.
        suppressions: those in force; with one of all streams no mail leaves.
    """

    email: str
    suppressions: Sequence[SuppressionOut]


@dataclass(frozen=True, slots=True)
class RemovedOut:
    """The end of a suppression.

    Attributes:
        removed: it was there.
        suppressions: what stops mail to the address still.
    """

    email: str
    removed: bool
    suppressions: Sequence[SuppressionOut]


@dataclass(frozen=True, slots=True)
class SuppressionsOut:
    """Suppressions of a tenant, the oldest first.

    Attributes:
        next: for ``after`` of the next question; null at the end.
    """

    suppressions: Sequence[SuppressionOut]
    next: str | None
