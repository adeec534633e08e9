"""Terms: what a campaign says to its lines at this moment.

Asked whenever a line's turn comes, so a change acts on all that is not on its way
without a write to any of it.
"""

from collections.abc import Set
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from typing_extensions import override

from mailwright.ids import CampaignId
from mailwright.queue.line import Line

#: Of a campaign that names none, and of mail of no campaign.
USUAL_PRIORITY: Final = 4


class Rest(NamedTuple):
    """Why a line may not feed a lane.

    Attributes:
        until: it may go on then by itself; ``None``: when somebody, or a rule, says so.
        reason: for people.
    """

    until: datetime | None
    reason: str


class Terms(Protocol):
    """Knows what campaigns say. No I/O; is asked for each pull, so it must be quick."""

    def rests(self, line: Line, now: datetime) -> Rest | None:
        """Return why nothing of ``line`` may leave at ``now``; ``None``: it may."""
        ...

    def pace_per_hour(self, campaign: CampaignId | None) -> int | None:
        """Return how many deliveries of ``campaign`` may leave in an hour."""
        ...

    def priority(self, campaign: CampaignId | None) -> int:
        """Return its place among its tenant's mail: 0 to 7, lower gets more turns."""
        ...

    def expires_at(self, line: Line) -> datetime | None:
        """Return when what waits in ``line`` ends, if its rows do not say earlier."""
        ...

    def expired(self, now: datetime) -> Set[CampaignId]:
        """Return the campaigns of which all that waits has expired."""
        ...


class NoTerms(Terms):
    """There are no campaigns."""

    @override
    def rests(self, line: Line, now: datetime) -> Rest | None:
        return None

    @override
    def pace_per_hour(self, campaign: CampaignId | None) -> int | None:
        return None

    @override
    def priority(self, campaign: CampaignId | None) -> int:
        return USUAL_PRIORITY

    @override
    def expires_at(self, line: Line) -> datetime | None:
        return None

    @override
    def expired(self, now: datetime) -> Set[CampaignId]:
        return frozenset()
