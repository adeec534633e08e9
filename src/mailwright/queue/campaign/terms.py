"""★ What a campaign's state and settings mean for its lines, at one instant.

No I/O, no clock. Windows change a few times a day and are asked for each pull, so an
answer is kept for as long as it holds.
"""

from collections.abc import Callable, Iterable, Iterator, Set
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from typing_extensions import override

from mailwright.ids import CampaignId, StreamId
from mailwright.queue.campaign.job import Campaign, JobState
from mailwright.queue.campaign.window import Window, parse_window, zone_of
from mailwright.queue.line import Line
from mailwright.queue.terms import USUAL_PRIORITY, Rest, Terms


class Campaigns(Protocol):
    """Every campaign that is not over. ``queue.campaign.book.CampaignBook``."""

    def get(self, campaign: CampaignId) -> Campaign | None:
        """Return a campaign that is not over."""
        ...

    def __iter__(self) -> Iterator[Campaign]:
        """Yield all of them."""
        ...


class _Kept(NamedTuple):
    """An answer, and from when until when it holds."""

    since: datetime
    until: datetime
    rest: Rest | None


class CampaignTerms(Terms):
    """Answers from the book of campaigns.

    Args:
        campaigns: as they are now.
        lifetime: returns for how long mail of a stream is tried.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        lifetime: Callable[[StreamId], timedelta],
    ) -> None:
        self._campaigns = campaigns
        self._lifetime = lifetime
        self._windows: dict[CampaignId, Window] = {}
        self._kept: dict[CampaignId, dict[str, _Kept]] = {}

    def forget(self, campaign: CampaignId) -> None:
        """Know nothing of ``campaign`` from before: it has changed."""
        self._windows.pop(campaign, None)
        self._kept.pop(campaign, None)

    def load_zones(self, timezones: Iterable[str]) -> None:
        """Read the zones, so that no question has to; may take a while."""
        for timezone in timezones:
            zone_of(timezone)

    @override
    def rests(self, line: Line, now: datetime) -> Rest | None:
        number = line.key.campaign
        campaign = None if number is None else self._campaigns.get(number)
        if campaign is None:
            return None
        stopped = _STOPPED.get(campaign.state)
        if stopped is not None:
            return Rest(None, _stopped(campaign, stopped))
        if campaign.send_at is not None and campaign.send_at > now:
            return Rest(campaign.send_at, f"campaign {campaign.name} is scheduled")
        if campaign.window is None:
            return None
        kept = self._kept.setdefault(campaign.id, {})
        known = kept.get(line.key.timezone)
        if known is None or not known.since <= now < known.until:
            window = self._window(campaign)
            known = kept[line.key.timezone] = _ask(window, now, line.key.timezone)
        return known.rest

    @override
    def pace_per_hour(self, campaign: CampaignId | None) -> int | None:
        known = None if campaign is None else self._campaigns.get(campaign)
        return None if known is None else known.pace_per_hour

    @override
    def priority(self, campaign: CampaignId | None) -> int:
        known = None if campaign is None else self._campaigns.get(campaign)
        return USUAL_PRIORITY if known is None else known.priority

    @override
    def expires_at(self, line: Line) -> datetime | None:
        number = line.key.campaign
        campaign = None if number is None else self._campaigns.get(number)
        if campaign is None:
            return None
        return self.end_of(campaign)

    @override
    def expired(self, now: datetime) -> Set[CampaignId]:
        ends = ((each.id, self.end_of(each)) for each in self._campaigns)
        return {campaign for campaign, end in ends if end is not None and end <= now}

    def end_of(self, campaign: Campaign) -> datetime | None:
        """Return when what waits of ``campaign`` ends; ``None``: it has not begun."""
        if campaign.expires_at is not None:
            return campaign.expires_at
        if campaign.dated_at is None:
            return None
        begins_at = max(campaign.dated_at, campaign.send_at or campaign.dated_at)
        return begins_at + self._lifetime(campaign.stream)

    def _window(self, campaign: Campaign) -> Window:
        window = self._windows.get(campaign.id)
        if window is None:
            window = self._windows[campaign.id] = parse_window(campaign.window)
        return window


#: What people are told of a campaign of which nothing leaves.
_STOPPED: Final = {
    JobState.DRAFT: "has not been started",
    JobState.SEALING: "is being sealed",
    JobState.READY: "has not been started",
    JobState.PAUSED: "is paused",
    JobState.HELD: "is held",
    JobState.CANCELLED: "is being cancelled",
    JobState.FAILED: "has failed",
    JobState.DONE: "is done",
}


def _stopped(campaign: Campaign, what: str) -> str:
    """Return why nothing leaves: ``campaign spring is paused by key:crm since …``."""
    reason = campaign.reason or {}
    by = f" by {reason['by']}" if "by" in reason else ""
    since = f" since {reason['at']}" if "at" in reason else ""
    why = f": {reason['reason']}" if "reason" in reason else ""
    return f"campaign {campaign.name} {what}{by}{since}{why}"


def _ask(window: Window, now: datetime, timezone: str) -> _Kept:
    changes_at = window.changes_at(now, timezone)
    if window.is_open(now, timezone):
        return _Kept(now, changes_at, None)
    reason = f"its window opens at {changes_at:%Y-%m-%dT%H:%M:%SZ}"
    return _Kept(now, changes_at, Rest(changes_at, reason))
