"""The answer to: how many deliveries may leave now, and from where?"""

from dataclasses import dataclass
from datetime import datetime

from mailwright.ids import PoolId, SourceId


@dataclass(frozen=True, slots=True)
class PermitKeys:
    """What a permit is asked for; each may have a throttle of its own."""

    provider: str
    site: str
    pool: PoolId


@dataclass(frozen=True, slots=True)
class Permit:
    """What was granted.

    Attributes:
        source: the one to send from; ``None`` when nothing is granted.
        granted: deliveries that may leave from it now.
        until: when to ask again, if less than wanted was granted.
        reason: why not more, for people; ``""`` when all was granted.
    """

    source: SourceId | None
    granted: int
    until: datetime | None = None
    reason: str = ""
