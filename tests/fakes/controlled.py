"""A queue with campaigns that run in it, and what controls them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, insert, update

from fakes.campaigns import LIFETIME, TENANT, Campaigns, campaigns_on, new_campaign
from fakes.operated_queue import check_balance
from fakes.queueing import POOL, Queue, make_submission, open_queue, rows_of
from mailwright.address import parse_address
from mailwright.attempt import Parcel
from mailwright.clock import to_micros
from mailwright.envelope import Envelope, Notify, Recipient
from mailwright.ids import CampaignId, LineId
from mailwright.queue.campaign.book import CampaignBook
from mailwright.queue.campaign.control import Control, ControlPorts
from mailwright.queue.campaign.job import Doing
from mailwright.queue.campaign.slices import ADD_TO_TOTAL
from mailwright.queue.campaign.statements import BEGIN_SEAL, move_campaign
from mailwright.queue.campaign.tables import recipients as recipients_table
from mailwright.queue.campaign.terms import CampaignTerms
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries, lines
from mailwright.store.statements import Query, Step, Unit, unit
from mailwright.submission import Submission

#: For conditions, on a machine that is busy with other things.
WITHIN_S: Final = 60
AUTHOR: Final = "key:crm"

_ADOPT_LINE: Final = Query(
    "adopt line",
    update(lines)
    .where(lines.c.id == bindparam("line_id"))
    .values(campaign=bindparam("to_campaign"), timezone=bindparam("to_timezone")),
)
_RECIPIENT: Final = Query("recipient", insert(recipients_table))


@dataclass
class Controlled:
    """A queue, its campaigns, and what lets their changes act.

    Attributes:
        recalled: what was to be taken back from sessions, each time.
        has_results: whether recipients are kept with what became of them; their mail
            is then read as a campaign's, which only the memory of an intake spares it.
    """

    queue: Queue
    campaigns: Campaigns
    terms: CampaignTerms
    control: Control
    has_results: bool = False
    recalled: list[Callable[[Parcel], bool]] = field(default_factory=list)

    async def campaign(self, *recipients: str, **changes: Any) -> CampaignId:
        """Return a campaign to ``recipients`` that runs; see :meth:`sealed`."""
        number = await self.sealed(*recipients, **changes)
        await self.campaigns.jobs.start(TENANT, number, AUTHOR)
        return number

    async def sealed(
        self, *recipients: str, timezone: str = "", **changes: Any
    ) -> CampaignId:
        """Return a campaign that is ready, whose lines are those of ``recipients``."""
        jobs = self.campaigns.jobs
        number = (await jobs.create(new_campaign(**changes))).id
        await jobs.seal(TENANT, number, AUTHOR)
        now = self.queue.clock.now()
        begin = BEGIN_SEAL(campaign_id=number, positions=0, now=to_micros(now))
        sealed = move_campaign(Doing.SEALED, number, None, now=now)
        for guard in (begin, sealed):
            (rows,) = await self.queue.store.run(Unit((Step(guard),)))
            self.campaigns.book.took(rows[0])
        await self.accept(number, *recipients, timezone=timezone)
        return number

    async def accept(
        self, number: CampaignId, *recipients: str, timezone: str = "", **changes: Any
    ) -> None:
        """Let mail to ``recipients`` be of a campaign."""
        intake, book = self.queue.intake, self.queue.book
        before = {line.id for line in book}
        # Nobody sees the lines before they are of the campaign.
        tell, intake._on_queued = intake._on_queued, lambda line: None
        async with asyncio.TaskGroup() as tasks:
            for each in recipients:
                accepting = intake.accept(self._submission(each, **changes))
                tasks.create_task(accepting)
        intake._on_queued = tell
        steps = []
        for line in [each for each in book if each.id not in before]:
            del book._by_key[line.key]
            line.key = replace(line.key, campaign=number, timezone=timezone)
            book._by_key[line.key] = line
            steps.append(
                _ADOPT_LINE(line_id=line.id, to_campaign=number, to_timezone=timezone)
            )
        for start in range(0, len(steps), 500):
            await self.queue.store.run(unit(*steps[start : start + 500]))
        if self.has_results:
            await self._record(number, {line.id for line in book} - before)
        self.control.changed(number)

    async def _record(self, number: CampaignId, adopted: set[LineId]) -> None:
        """Give each delivery of ``adopted`` lines its recipient, and count them."""
        columns = deliveries.c.keys()
        rows = [
            dict(zip(columns, row, strict=True))
            for row in await rows_of(self.queue.store, deliveries)
        ]
        steps = [
            _RECIPIENT(
                message=row["message"],
                campaign=number,
                row=1,
                delivery=row["id"],
                address=row["recipient"],
                fields="{}",
                metadata="{}",
                timezone="",
                variant="",
                is_seed=0,
                state=int(State.QUEUED),
                category="",
                code=0,
                enhanced="",
                reply="",
                at=None,
            )
            for row in rows
            if row["line"] in adopted
        ]
        if steps:
            count = ADD_TO_TOTAL(
                campaign=number, state=int(State.QUEUED), category="", count=len(steps)
            )
            await self.queue.store.run(unit(*steps, count))

    def _submission(self, recipient: str, **changes: Any) -> Submission:
        envelope = Envelope(
            parse_address("bounces@example.com"),
            (Recipient(parse_address(recipient), frozenset({Notify.NEVER})),),
        )
        values = {"is_bulk": True, "envelope": envelope} | changes
        return make_submission(at=self.queue.clock.now(), **values)


def drive(
    folder: Path, test: Callable[[Controlled], Awaitable[None]], **changes: Any
) -> None:
    """Run ``test`` with a queue that runs, and its campaigns, opened with ``changes``."""

    async def scenario() -> None:
        book = CampaignBook()
        terms = CampaignTerms(book, lambda stream: LIFETIME)
        async with (
            asyncio.timeout(WITHIN_S),
            open_queue(folder, terms=terms, **changes) as queue,
        ):
            controlled = await _controlled(queue, book, terms, folder)
            await _running(controlled, test)
            await until(lambda: not any(line.sending for line in queue.book))
            await check_balance(queue)

    asyncio.run(scenario())


async def _controlled(
    queue: Queue, book: CampaignBook, terms: CampaignTerms, folder: Path
) -> Controlled:
    campaigns = await campaigns_on(
        queue.store, queue.store.ids.take, queue.clock, folder, book
    )
    recalled: list[Callable[[Parcel], bool]] = []
    control = Control(
        ControlPorts(
            queue.store,
            book,
            terms,
            queue.operations,
            queue.expiry,
            queue.clock,
            lambda campaign: campaign.pool or POOL,
            queue.settlement.recall,
            recalled.append,
        )
    )
    book.on_change = control.changed
    for campaign in book:
        control.changed(campaign.id)
    return Controlled(queue, campaigns, terms, control, recalled=recalled)


async def _running(
    controlled: Controlled, test: Callable[[Controlled], Awaitable[None]]
) -> None:
    queue = controlled.queue
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.scheduler.run())
        others = [
            tasks.create_task(queue.operations.run()),
            tasks.create_task(queue.expiry.run()),
            tasks.create_task(controlled.control.run()),
        ]
        try:
            await test(controlled)
        finally:
            queue.scheduler.stop()
            for other in others:
                other.cancel()


async def until(condition: Callable[[], object]) -> float:
    """Wait for ``condition``; return how many seconds that took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not condition():
        await asyncio.sleep(0.002)
    return loop.time() - begun
