"""The answer to: how many deliveries may leave now, and from where?"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from mailwright.ids import (
    CampaignId,
    CredentialId,
    LineId,
    PoolId,
    SourceId,
    StreamId,
    TenantId,
)


@dataclass(frozen=True, slots=True)
class PermitKeys:
    """What a permit is asked for; each may have a throttle of its own.

    Attributes:
        line: whose deliveries they are; waits for its turn by this name.
        is_bulk: whether transactional mail goes before them.
        pace_per_hour: how many of the campaign may leave in an hour; ``None``: no matter.
    """

    provider: str
    site: str
    pool: PoolId
    line: LineId | None = None
    domain: str | None = None
    tenant: TenantId | None = None
    campaign: CampaignId | None = None
    stream: StreamId | None = None
    credential: CredentialId | None = None
    is_bulk: bool = True
    pace_per_hour: int | None = None


class Stop(Enum):
    """What has to wait when less was granted than wanted."""

    LINE = "line"  # the deliveries that were asked for; others of the lane may leave
    SOURCE = "source"  # everything of the lane from the source that was named
    LANE = "lane"  # everything of the lane


@dataclass(frozen=True, slots=True)
class Permit:
    """What was granted.

    Attributes:
        source: the one to send from; ``None`` when nothing is granted.
        granted: deliveries that may leave from it now.
        until: when to ask again, if less than wanted was granted.
        reason: why not more, for people; ``""`` when all was granted.
        stop: what has to wait until then.
        receipt: of whoever granted it; what is given back names its permit.
    """

    source: SourceId | None
    granted: int
    until: datetime | None = None
    reason: str = ""
    stop: Stop = Stop.LANE
    receipt: object = field(default=None, repr=False, compare=False)
