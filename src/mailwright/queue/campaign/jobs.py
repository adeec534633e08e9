"""What a program asks of campaigns: make, look, move, change.

What returns is durable. A move is one conditional update; the book learns of it in the
commit's callback, so who acts on it (sealing, control) sees what is stored.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mailwright.ids import CampaignId, MessageId, TenantId
from mailwright.queue.campaign.job import (
    Campaign,
    CampaignRecord,
    Change,
    Doing,
    JobState,
    JobStateError,
    NewCampaign,
    RecipientRecord,
    RejectRecord,
)
from mailwright.queue.campaign.ports import JobPorts
from mailwright.queue.campaign.rendered import Rendered, read_rendered
from mailwright.queue.campaign.results import (
    MAX_PAGE,
    Page,
    key_of,
    read_recipients,
    read_rejects,
    record_of,
)
from mailwright.queue.campaign.statements import (
    CAMPAIGNS_OF_TENANT,
    ONE_CAMPAIGN,
    SENDING_OF_CAMPAIGN,
    TOTALS_OF_CAMPAIGN,
    change_campaign,
    move_campaign,
)
from mailwright.queue.campaign.stored import campaign_of, draft_row, insert_campaign
from mailwright.queue.delivery import State
from mailwright.store.ports import StoreError
from mailwright.store.statements import Bound, Row, Step, Unit, UnitResult

_NO_ID: Final = 2**63 - 1


class Jobs:
    """The campaigns of all tenants; every question names the one who asks."""

    def __init__(self, ports: JobPorts) -> None:
        self._ports = ports
        self._store = ports.store
        self._book = ports.book

    async def create(
        self,
        new: NewCampaign,
        guards: Callable[[CampaignRecord], Sequence[Bound]] | None = None,
    ) -> CampaignRecord:
        """Store a draft and return it; durable on return.

        ``guards`` gives statements that commit with it.

        Raises:
            StoreConflictError: a guard's key is there already; nothing is stored.
            StoreError: nothing is stored.
        """
        ports, at = self._ports, self._ports.clock.now()
        content = ports.next_id()
        campaign = CampaignId(ports.next_id())
        row = insert_campaign(campaign, content, new, at=at)
        stored = await ports.contents.insertion(content, new.content, at)
        draft = draft_row(row)
        made = self._record(campaign_of(draft), new.spec)
        then = (stored, row, *(guards(made) if guards else ()))
        unit = Unit((Step(then=then),), grows=True)
        await self._run(unit, lambda _result: self._book.took(draft))
        return made

    async def get(
        self, tenant: TenantId, campaign: CampaignId
    ) -> CampaignRecord | None:
        """Return a campaign of ``tenant`` with its sums, all of one moment.

        Raises:
            StoreError: it cannot be read.
        """
        rows, totals, ((sending,),) = await self._store.read(
            ONE_CAMPAIGN(campaign_id=campaign, tenant=tenant),
            TOTALS_OF_CAMPAIGN(campaign_id=campaign),
            SENDING_OF_CAMPAIGN(campaign_id=campaign, my_epoch=self._store.epoch),
        )
        if not rows:
            return None
        return self._shown(rows[0], totals, sending)

    async def content(self, tenant: TenantId, campaign: CampaignId) -> bytes | None:
        """Return the JSON of a campaign's content; ``None``: there is none (any more).

        Raises:
            StoreError: it cannot be read.
        """
        (rows,) = await self._store.read(
            ONE_CAMPAIGN(campaign_id=campaign, tenant=tenant)
        )
        if not rows:
            return None
        return await self._ports.contents.read(campaign_of(rows[0]).content)

    async def list(
        self,
        tenant: TenantId,
        after: str = "",
        limit: int = 100,
        *,
        state: JobState | None = None,
    ) -> Page[CampaignRecord]:
        """Return a page of campaigns, the newest first.

        Raises:
            PageKeyError: ``after`` is no key of ours.
            StoreError: they cannot be read.
        """
        before, limit = key_of(after, _NO_ID), min(limit, MAX_PAGE)
        (rows,) = await self._store.read(
            CAMPAIGNS_OF_TENANT(
                tenant=tenant,
                before=before,
                in_state="" if state is None else state.value,
                page=limit,
            )
        )
        totals = await self._store.read(
            *(TOTALS_OF_CAMPAIGN(campaign_id=row[0]) for row in rows)
        )
        records = [
            self._shown(row, some, 0) for row, some in zip(rows, totals, strict=True)
        ]
        return Page(records, str(records[-1].id) if len(records) == limit else None)

    async def seal(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Begin to make deliveries of what was uploaded; ``None``: no such campaign.

        Raises:
            JobStateError: its state does not allow it. So do all the moves below.
            StoreError: nothing has changed. So do all the moves below.
        """
        return await self._move(Doing.SEAL, tenant, campaign, author)

    async def start(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let it run, after its seal if need be."""
        return await self._move(Doing.START, tenant, campaign, author)

    async def pause(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let nothing of it leave any more."""
        return await self._move(Doing.PAUSE, tenant, campaign, author)

    async def resume(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """Let it go on, paused or held; what held it is overridden from now on."""
        return await self._move(Doing.RESUME, tenant, campaign, author)

    async def cancel(
        self, tenant: TenantId, campaign: CampaignId, author: str
    ) -> CampaignRecord | None:
        """End it; what is queued is taken back after."""
        return await self._move(Doing.CANCEL, tenant, campaign, author)

    async def fail(
        self, tenant: TenantId, campaign: CampaignId, reason: str
    ) -> CampaignRecord | None:
        """Note that its rows could not be had."""
        return await self._move(
            Doing.FAIL, tenant, campaign, "", why={"reason": reason}
        )

    async def hold(self, campaign: CampaignId, reason: Mapping[str, object]) -> None:
        """Stop a running campaign by a rule; ``reason`` is the rule and its evidence.

        Does nothing when it does not run any more.

        Raises:
            StoreError: nothing has changed.
        """
        guard = move_campaign(
            Doing.HOLD, campaign, None, now=self._ports.clock.now(), why=reason
        )
        await self._run(Unit((Step(guard),)), self._took)

    async def change(
        self, tenant: TenantId, campaign: CampaignId, change: Change
    ) -> CampaignRecord | None:
        """Change what is asked of it; acts on what is not on the wire.

        Raises:
            JobStateError: it is over.
            StoreError: nothing has changed.
        """
        known = self._book.get(campaign)
        if change.expires_at is None and known is not None and known.dated_at:
            # It has started: without an end of its own, that of its class.
            ends_at = known.dated_at + self._ports.lifetime(known.stream)
            change = replace(change, expires_at=ends_at)
        guard = change_campaign(campaign, tenant, change)
        return await self._conditional(guard, tenant, campaign, "change")

    async def recipients(
        self,
        tenant: TenantId,
        campaign: CampaignId,
        *,
        state: str | None = None,
        category: str | None = None,
        after: str = "",
        limit: int = MAX_PAGE,
    ) -> Page[RecipientRecord] | None:
        """Return a page of its recipients; ``None``: no such campaign.

        ``state`` is the name of one; what is ``sending`` is among the ``queued``.

        Raises:
            KeyError: there is no such state.
            PageKeyError: ``after`` is no key of ours.
            StoreError: they cannot be read.
        """
        if not await self._is_of(tenant, campaign):
            return None
        return await read_recipients(
            self._store,
            campaign,
            state=None if state is None else State[state.upper()],
            category=category or "",
            after=after,
            limit=limit,
        )

    async def rejects(
        self,
        tenant: TenantId,
        campaign: CampaignId,
        after: str = "",
        limit: int = MAX_PAGE,
    ) -> Page[RejectRecord] | None:
        """Return a page of the rows that got no delivery; ``None``: no such campaign.

        Raises:
            PageKeyError: ``after`` is no key of ours.
            StoreError: they cannot be read.
        """
        if not await self._is_of(tenant, campaign):
            return None
        return await read_rejects(self._store, campaign, after=after, limit=limit)

    async def _is_of(self, tenant: TenantId, campaign: CampaignId) -> bool:
        known = self._book.get(campaign)
        if known is not None:
            return known.tenant == tenant
        (rows,) = await self._store.read(
            ONE_CAMPAIGN(campaign_id=campaign, tenant=tenant)
        )
        return bool(rows)

    async def _move(
        self,
        doing: Doing,
        tenant: TenantId,
        campaign: CampaignId,
        author: str,
        *,
        why: Mapping[str, object] | None = None,
    ) -> CampaignRecord | None:
        now, known = self._ports.clock.now(), self._book.get(campaign)
        lifetime = timedelta()
        if known is not None:
            lifetime = self._ports.lifetime(known.stream)
            why = why or _why(doing, known, author, now)
        guard = move_campaign(
            doing,
            campaign,
            tenant,
            now=now,
            lifetime_micros=lifetime // timedelta(microseconds=1),
            why=why,
        )
        return await self._conditional(guard, tenant, campaign, doing.value)

    async def _conditional(
        self, guard: Bound, tenant: TenantId, campaign: CampaignId, doing: str
    ) -> CampaignRecord | None:
        """Run a conditional update and return what it made of the campaign."""
        result = await self._run(Unit((Step(guard),)), self._took)
        found = await self.get(tenant, campaign)
        if found is not None and not result[0]:
            raise JobStateError(found.state, doing)
        return found

    def _took(self, result: UnitResult) -> None:
        for row in result[0]:
            if self._book.took(row).state in {JobState.SEALING, JobState.CANCELLED}:
                self._ports.on_sealing(CampaignId(row[0]))

    async def _run(
        self, unit: Unit, on_commit: Callable[[UnitResult], object]
    ) -> UnitResult:
        """Run ``unit``; ``on_commit`` is called whatever becomes of the caller."""
        ended: asyncio.Future[UnitResult]
        ended = asyncio.get_running_loop().create_future()

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            if result is not None:
                on_commit(result)
            if ended.done():
                return
            if result is not None:
                ended.set_result(result)
            else:
                ended.set_exception(error or StoreError("no result"))

        self._store.submit(unit, done)
        return await ended

    async def rendered(self, tenant: TenantId, message: MessageId) -> Rendered | None:
        """Return what a message of ``tenant`` is made from; ``None``: not kept.

        Raises:
            StoreError: it cannot be read.
        """
        return await read_rendered(self._store, self._ports.contents, tenant, message)

    def _shown(self, row: Row, totals: Sequence[Row], sending: int) -> CampaignRecord:
        campaign = campaign_of(row)
        return self._record(campaign, json.loads(row[-1]), totals, sending)

    def _record(
        self,
        campaign: Campaign,
        spec: Mapping[str, object],
        totals: Sequence[Row] = (),
        sending: int = 0,
    ) -> CampaignRecord:
        return record_of(
            campaign,
            spec,
            ((state, category, count) for state, category, count in totals),
            sending=sending,
            rate_per_minute=self._ports.rates.per_minute(campaign.id),
            now=self._ports.clock.now(),
        )


def _why(
    doing: Doing, known: Campaign, author: str, now: datetime
) -> Mapping[str, object] | None:
    """Return what a move keeps as the campaign's reason.

    What was overridden once is kept for as long as it runs: its rule must not hold it
    again for the same evidence.
    """
    before = known.reason or {}
    overridden = {
        key: before[key] for key in ("overridden",) if before.get(key) is not None
    }
    if doing in {Doing.PAUSE, Doing.CANCEL}:
        return {**overridden, "by": author, "at": now.isoformat(timespec="seconds")}
    if doing is not Doing.RESUME:
        return None
    if known.state is JobState.HELD and "rule" in before:
        old = overridden.get("overridden")
        rules = dict(old) if isinstance(old, Mapping) else {}
        rules[str(before["rule"])] = before.get("rate")
        return {"overridden": rules, "by": author}
    return {**overridden, "by": author} if overridden else None
