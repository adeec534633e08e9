"""The book of campaigns: the picture in memory of every one that is not over.

This node is the only writer of its campaigns, so the book is right without asking the
database: the callback of each commit takes over what it changed; a restart reads it anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from mailwright.ids import CampaignId
from mailwright.queue.campaign.job import Campaign
from mailwright.queue.campaign.statements import OPEN_CAMPAIGNS
from mailwright.queue.campaign.stored import campaign_of
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Row

_PAGE: Final = 1_000


def _nobody(_campaign: CampaignId) -> None:
    """Hear of a change and do nothing."""


class CampaignBook:
    """Every campaign that is not over, by id.

    Attributes:
        on_change: is told of each campaign that a commit has changed, on the loop; must
            not block. The book knows the change already.
    """

    def __init__(self) -> None:
        self._campaigns: dict[CampaignId, Campaign] = {}
        self.on_change: Callable[[CampaignId], None] = _nobody

    def __len__(self) -> int:
        return len(self._campaigns)

    def __iter__(self) -> Iterator[Campaign]:
        return iter(list(self._campaigns.values()))

    def get(self, campaign: CampaignId) -> Campaign | None:
        """Return a campaign that is not over."""
        return self._campaigns.get(campaign)

    def took(self, row: Row) -> Campaign:
        """Take over a row that a commit returned; tell of it; return it."""
        campaign = campaign_of(row)
        before = self._campaigns.get(campaign.id)
        if before is not None:
            campaign = replace(campaign, totals=before.totals)
        if campaign.finished_at is None:
            self._campaigns[campaign.id] = campaign
        else:
            self._campaigns.pop(campaign.id, None)
        self.on_change(campaign.id)
        return campaign

    def advanced(self, campaign: CampaignId, position: int) -> None:
        """Note how far a seal has come; nobody is told."""
        known = self._campaigns.get(campaign)
        if known is not None:
            self._campaigns[campaign] = replace(known, sealed_rows=position)

    def rejected(
        self, campaign: CampaignId, stored: int, outcomes: Mapping[str, int]
    ) -> None:
        """Note how many rejects are stored, and the outcomes of the last of them."""
        known = self._campaigns.get(campaign)
        if known is not None:
            self._campaigns[campaign] = replace(
                known,
                sealed_rejects=stored,
                duplicates=known.duplicates + outcomes.get("duplicate", 0),
                invalid=known.invalid + outcomes.get("invalid", 0),
                suppressed=known.suppressed + outcomes.get("suppressed", 0),
            )

    def counted(self, totals: Iterable[tuple[int, int, str, int]]) -> None:
        """Take over the totals of all: (campaign, state, category, count)."""
        found: dict[CampaignId, dict[tuple[int, str], int]] = {}
        for campaign, state, category, count in totals:
            found.setdefault(CampaignId(campaign), {})[state, category] = count
        none: Mapping[tuple[int, str], int] = {}
        for known in self:
            now = found.get(known.id, none)
            if now != known.totals:
                self._campaigns[known.id] = replace(known, totals=now)


async def load_campaigns(store: UnitStore, book: CampaignBook) -> None:
    """Fill ``book`` with every campaign that is not over.

    Raises:
        StoreError: they cannot be read.
    """
    after = 0
    while True:
        (rows,) = await store.read(OPEN_CAMPAIGNS(after=after, page=_PAGE))
        for row in rows:
            after = book.took(row).id
        if len(rows) < _PAGE:
            return
