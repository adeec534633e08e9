"""Forgetting campaigns: their contents first, then everything of them at once.

What a campaign sent is kept as long as its results are of use: from its end on, not from
when its rows were accepted, which may be weeks before. So its messages, recipients and
rejects go with its row, in slices; the day tables that hold its outcomes stay until then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from mailwright.clock import from_micros, to_micros
from mailwright.queue.campaign.tables import (
    campaign_totals,
    campaigns,
    recipients,
    rejects,
)
from mailwright.queue.statements import DISCARD_MESSAGE
from mailwright.queue.tables import contents
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Step, Unit, Urgency, unit

#: Recipients that are forgotten in one go; about 3 ms of statements.
_SLICE: Final = 200
_FEW: Final = 100

_c = campaigns.c
_OVER_WITH_CONTENT: Final = Query(
    "campaigns over, with content",
    select(_c.id, _c.content)
    .where(_c.finished_at < bindparam("before"), _c.content != 0)
    .limit(_FEW),
)
_OVER: Final = Query(
    "campaigns over",
    select(_c.id, _c.content).where(_c.finished_at < bindparam("before")).limit(_FEW),
)
_SEALED_BEFORE: Final = Query(
    "campaigns sealed before",
    select(_c.sealed_at).distinct().where(_c.sealed_at < bindparam("before")),
)
_TAKE_CONTENT: Final = Query(
    "take content from campaign",
    update(campaigns)
    .where(_c.id == bindparam("campaign_id"), _c.content != 0)
    .values(content=0)
    .returning(_c.id),
)
#: One of those who refer to a content is gone.
_LET_GO: Final = Query(
    "let go content",
    update(contents)
    .where(contents.c.id == bindparam("content_id"))
    .values(refs=contents.c.refs - 1),
)
_DISCARD: Final = Query(
    "discard content that nobody refers to",
    delete(contents)
    .where(contents.c.id == bindparam("content_id"), contents.c.refs <= 0)
    .returning(contents.c.body_file),
)
_MESSAGES: Final = Query(
    "messages of campaign",
    select(recipients.c.message)
    .where(recipients.c.campaign == bindparam("campaign_id"))
    .order_by(recipients.c.message)
    .limit(_SLICE),
)
_FORGET_RECIPIENT: Final = Query(
    "forget recipient",
    delete(recipients).where(recipients.c.message == bindparam("message_id")),
)
_REJECTS: Final = Query(
    "rejected rows of campaign",
    select(rejects.c.row)
    .where(rejects.c.campaign == bindparam("campaign_id"))
    .order_by(rejects.c.row)
    .limit(_SLICE),
)
_FORGET_REJECT: Final = Query(
    "forget reject",
    delete(rejects).where(
        rejects.c.campaign == bindparam("campaign_id"),
        rejects.c.row == bindparam("number"),
    ),
)
_FORGET_TOTALS: Final = Query(
    "forget totals",
    delete(campaign_totals).where(
        campaign_totals.c.campaign == bindparam("campaign_id")
    ),
)
_FORGET: Final = Query(
    "forget campaign", delete(campaigns).where(_c.id == bindparam("campaign_id"))
)


class ForgettingCampaigns:
    """Removes what retention does not keep of campaigns that are over."""

    def __init__(self, store: UnitStore, remove_file: Callable[[str], None]) -> None:
        """``remove_file`` removes a body's file; it is called in a thread."""
        self._store = store
        self._remove_file = remove_file

    async def forget_contents(self, before: datetime) -> None:
        """Let go the contents of campaigns that ended before; none will be rendered.

        Raises:
            StoreError: the store refused; the next run goes on.
        """
        while True:
            (rows,) = await self._store.read(
                _OVER_WITH_CONTENT(before=to_micros(before))
            )
            for campaign, content in rows:
                await self._let_go(campaign, content)
            if len(rows) < _FEW:
                return

    async def forget(self, before: datetime) -> None:
        """Remove all that is known of campaigns that ended before.

        Raises:
            StoreError: the store refused; the next run goes on.
        """
        while True:
            (rows,) = await self._store.read(_OVER(before=to_micros(before)))
            for campaign, content in rows:
                if content:
                    await self._let_go(campaign, content)
                await self._forget(campaign)
            if len(rows) < _FEW:
                return

    async def days_kept(self, before: datetime) -> set[date]:
        """Return the days before that hold outcomes of campaigns that are kept.

        Raises:
            StoreError: they cannot be read.
        """
        (rows,) = await self._store.read(_SEALED_BEFORE(before=to_micros(before)))
        return {from_micros(row[0]).date() for row in rows}

    async def _let_go(self, campaign: int, content: int) -> None:
        taken = Step(
            _TAKE_CONTENT(campaign_id=campaign), (_LET_GO(content_id=content),)
        )
        discarded = Step(_DISCARD(content_id=content))
        result = await self._store.run(Unit((taken, discarded), Urgency.BULK))
        for (name,) in result[1]:
            if name is not None:
                await asyncio.to_thread(self._remove_file, name)

    async def _forget(self, campaign: int) -> None:
        async for some in self._slices(_MESSAGES, campaign):
            gone = (
                each(message_id=message)
                for message in some
                for each in (DISCARD_MESSAGE, _FORGET_RECIPIENT)
            )
            await self._store.run(unit(*gone, urgency=Urgency.BULK))
        async for some in self._slices(_REJECTS, campaign):
            refused = (_FORGET_REJECT(campaign_id=campaign, number=row) for row in some)
            await self._store.run(unit(*refused, urgency=Urgency.BULK))
        end = (_FORGET_TOTALS(campaign_id=campaign), _FORGET(campaign_id=campaign))
        await self._store.run(unit(*end, urgency=Urgency.BULK))

    async def _slices(
        self, query: Query, campaign: int
    ) -> AsyncIterator[Sequence[int]]:
        while True:
            (rows,) = await self._store.read(query(campaign_id=campaign))
            if rows:
                yield [row[0] for row in rows]
            if len(rows) < _SLICE:
                return
