"""Forgetting: contents first; messages, outcomes and events by the day.

Works in slices of bulk units, which yield to accepts and settles between turns. What
still has deliveries under way is kept, however old. A crash between removing a row and
its file leaves an orphan, which the sweep at the next start takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, exists, select

from mailwright.clock import to_micros
from mailwright.queue.campaign.forgetting import ForgettingCampaigns
from mailwright.queue.statements import DISCARD_CONTENT, DISCARD_MESSAGE
from mailwright.queue.tables import contents, deliveries, messages
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Urgency, unit

_SLICE: Final = 200

_is_final: Final = ~exists().where(deliveries.c.message == messages.c.id)
#: Contents of messages that were accepted in [since, before) and are final.
_FINAL_CONTENTS: Final = Query(
    "final contents",
    select(messages.c.accepted_at, contents.c.id, contents.c.body_file)
    .select_from(messages.join(contents, messages.c.content == contents.c.id))
    .where(
        messages.c.accepted_at >= bindparam("since"),
        messages.c.accepted_at < bindparam("before"),
        messages.c.campaign.is_(None),
        _is_final,
    )
    .order_by(messages.c.accepted_at)
    .limit(bindparam("slice")),
)
_FINAL_MESSAGES: Final = Query(
    "final messages",
    select(messages.c.id, messages.c.content, contents.c.body_file)
    .select_from(messages.outerjoin(contents, messages.c.content == contents.c.id))
    .where(
        messages.c.accepted_at < bindparam("before"),
        messages.c.campaign.is_(None),
        _is_final,
    )
    .order_by(messages.c.accepted_at)
    .limit(bindparam("slice")),
)
KNOWN_BODY: Final = Query(
    "known body",
    select(contents.c.body_file).where(contents.c.body_file == bindparam("name")),
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long finished things are kept.

    Attributes:
        contents: since acceptance.
        events: likewise, with messages and outcomes; whole days are dropped.
    """

    contents: timedelta
    events: timedelta


class Forgetting:
    """Removes what retention does not keep."""

    def __init__(
        self,
        store: UnitStore,
        remove_file: Callable[[str], None],
        drop_day: Callable[[date], Awaitable[None]],
        may_drop: Callable[[date, date], Awaitable[bool]] | None = None,
    ) -> None:
        """``remove_file`` removes a body's file; it is called in a thread.

        ``may_drop`` is asked for each day that is over, with the first that is not: what
        reads events may not have come so far.
        """
        self._store = store
        self._remove_file = remove_file
        self._drop_day = drop_day
        self._may_drop = may_drop
        self._campaigns = ForgettingCampaigns(store, remove_file)
        self._contents_since = 0

    async def run_once(
        self, retention: Retention, days: Sequence[date], now: datetime
    ) -> None:
        """Forget what is over at ``now``.

        Raises:
            StoreError: the store refused; the next run goes on.
        """
        await self._forget_contents(now - retention.contents)
        await self._campaigns.forget_contents(now - retention.contents)
        # A day is over when all of it is older; a delivery lives for days itself.
        horizon = (now - retention.events).date()
        before = datetime.combine(horizon, datetime.min.time(), now.tzinfo)
        await self._forget_messages(before)
        await self._campaigns.forget(before)
        kept = await self._campaigns.days_kept(before)
        for day in days:
            if day >= horizon or day in kept:
                continue
            if self._may_drop is None or await self._may_drop(day, horizon):
                await self._drop_day(day)

    async def _forget_contents(self, before: datetime) -> None:
        while True:
            (rows,) = await self._store.read(
                _FINAL_CONTENTS(
                    since=self._contents_since, before=to_micros(before), slice=_SLICE
                )
            )
            if rows:
                await self._store.run(
                    unit(
                        *(DISCARD_CONTENT(content_id=row[1]) for row in rows),
                        urgency=Urgency.BULK,
                    )
                )
                files = [row[2] for row in rows if row[2] is not None]
                await asyncio.to_thread(self._remove_files, files)
                # What is still under way is passed; it goes with its message.
                self._contents_since = rows[-1][0]
            if len(rows) < _SLICE:
                return

    async def _forget_messages(self, before: datetime) -> None:
        while True:
            (rows,) = await self._store.read(
                _FINAL_MESSAGES(before=to_micros(before), slice=_SLICE)
            )
            if rows:
                await self._store.run(
                    unit(
                        *(DISCARD_MESSAGE(message_id=row[0]) for row in rows),
                        *(DISCARD_CONTENT(content_id=row[1]) for row in rows),
                        urgency=Urgency.BULK,
                    )
                )
                files = [row[2] for row in rows if row[2] is not None]
                await asyncio.to_thread(self._remove_files, files)
            if len(rows) < _SLICE:
                return

    def _remove_files(self, names: Sequence[str]) -> None:
        for name in names:
            self._remove_file(name)
