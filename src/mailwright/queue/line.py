"""Lines: the queued deliveries of one (tenant, campaign or stream, …, domain, pool).

A line is a durable row; what is here is its picture in memory, kept for every line that
holds mail. It is small on purpose: a campaign to 95 000 domains has as many lines.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailwright.accounts.directory import StreamClass
from mailwright.ids import (
    CampaignId,
    CredentialId,
    HoldId,
    LineId,
    PoolId,
    SendingDomainId,
    StreamId,
    TenantId,
)

#: Due time of a line in which nothing waits.
NOTHING_DUE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LineKey:
    """What the deliveries of a line have in common.

    Attributes:
        timezone: the recipients' own, by its IANA name, where a campaign says it.
    """

    tenant: TenantId
    campaign: CampaignId | None
    stream: StreamId
    sending_domain: SendingDomainId
    credential: CredentialId
    stream_class: StreamClass
    domain: str
    pool: PoolId
    timezone: str = ""

    def to_row(self) -> dict[str, int | str | None]:
        """Return its columns of ``lines``."""
        return {
            "tenant": self.tenant,
            "campaign": self.campaign,
            "stream": self.stream,
            "sending_domain": self.sending_domain,
            "credential": self.credential,
            "class": int(self.stream_class),
            "domain": self.domain,
            "pool": self.pool,
            "timezone": self.timezone,
        }


@dataclass(slots=True, eq=False)
class Line:
    """A line as the scheduler sees it.

    Attributes:
        count: deliveries that are not final.
        sending: of these, claimed and not settled yet.
        claiming: rows that claims under way have asked for.
        accepting: submissions under way that will add to it.
        changes: how often deliveries became due in it; tells a look at the database that
            it looked too early.
        next_due_at: nothing of it is due before.
        hold: the one that it was parted from others for; accepts never add to it then,
            in force or not.
        is_held: a hold stops it.
        wait_until: it rests until then (no route, no key, dead host), with the reason.
        waits_for_limit: it rests because of a limit; when limits change it may go on.
    """

    id: LineId
    key: LineKey
    count: int
    next_due_at: datetime
    sending: int = 0
    claiming: int = 0
    accepting: int = 0
    changes: int = 0
    hold: HoldId | None = None
    is_held: bool = False
    wait_until: datetime | None = None
    wait_reason: str = ""
    waits_for_limit: bool = False

    @property
    def available(self) -> int:
        """Deliveries that wait and that no claim has asked for yet."""
        return self.count - self.sending - self.claiming

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing and nothing is on its way into it."""
        return self.count == 0 and self.accepting == 0

    def ready_at(self) -> datetime:
        """Return when it may feed a lane next."""
        if self.wait_until is not None and self.wait_until > self.next_due_at:
            return self.wait_until
        return self.next_due_at

    def claimed(self, asked: int, got: int) -> None:
        """Note that a claim which asked for ``asked`` deliveries got ``got``.

        What other claims have asked for may still wait when they are answered: their
        share keeps the line due, or nobody would look at it again.
        """
        self.claiming -= asked
        self.sending += got
        if self.count <= self.sending:
            self.next_due_at = NOTHING_DUE

    def due_again(self, at: datetime) -> None:
        """Note that a delivery of it is due at ``at``."""
        self.changes += 1
        self.next_due_at = min(self.next_due_at, at)

    def gained(self, due_at: datetime, count: int = 1) -> None:
        """Note that ``count`` deliveries were added to it, due at ``due_at``."""
        if not self.count:
            self.next_due_at = due_at
        self.due_again(due_at)
        self.count += count

    def rest(
        self, until: datetime, reason: str, *, waits_for_limit: bool = False
    ) -> None:
        """Let it rest until ``until``; people are told ``reason``."""
        self.wait_until = until
        self.wait_reason = reason
        self.waits_for_limit = waits_for_limit

    def wake(self) -> None:
        """End a rest."""
        self.wait_until = None
        self.wait_reason = ""
        self.waits_for_limit = False
