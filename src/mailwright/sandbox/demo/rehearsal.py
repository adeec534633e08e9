"""Runs the demo's batch: sends by all doors, follows the event log, empties the inbox.

The clients are threads that share one queue of drafts; a loop of ours looks at the event
log and the inbox four times a second until every delivery has ended.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from mailwright.clock import Clock
from mailwright.sandbox.demo.balance import Balance, balance
from mailwright.sandbox.demo.crm import Handed, hand_over
from mailwright.sandbox.demo.doors import (
    Client,
    DoorError,
    Doors,
    EventFeed,
    Receipt,
)
from mailwright.sandbox.demo.examiner import Examined, Examiner
from mailwright.sandbox.demo.job import Job
from mailwright.sandbox.demo.ledger import Delivery, Ledger, Promise
from mailwright.sandbox.demo.letters import Composed
from mailwright.sandbox.demo.plan import Draft
from mailwright.sandbox.inbox import Inbox

CLIENTS: Final = 8
TICK_S: Final = 0.25
_T = TypeVar("_T")


class Ending(Enum):
    """Why the batch is over."""

    SETTLED = "settled"  # every delivery has ended
    TIME_OVER = "time over"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far it is, for people.

    Attributes:
        messages: to send.
        sent: of them, acknowledged or refused.
        by_http: recipients that came in by HTTP, message by message.
        handed: what became of the campaign's rows; ``None``: there is none yet.
    """

    seconds: float
    messages: int
    sent: int
    by_http: int
    ledger: Ledger
    handed: Handed | None = None

    @property
    def by_campaign(self) -> int:
        """Recipients that came in by the campaign."""
        return 0 if self.handed is None else len(self.handed.receipts)


class Rehearsal:
    """One run of the batch.

    Attributes:
        ledger: what is known.
        refused: drafts that no door took, in words; there should be none.
    """

    def __init__(
        self,
        drafts: Sequence[Draft],
        job: Job | None,
        doors: Doors,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self._job = job
        self._handed: Handed | None = None
        self._messages = len(drafts) + (0 if job is None else len(job.members))
        self._drafts = deque(drafts)
        self._doors = doors
        self._clock = clock
        self.ledger = Ledger()
        self._examiner = Examiner(inbox, self.ledger)
        self._taken = 0
        self._by_http = 0
        self.refused: list[str] = []
        self._is_over = threading.Event()
        self._started = clock.steady()
        self._cursor = ""

    @property
    def examined(self) -> Examined:
        """What is known of the copies."""
        return self._examiner.found

    @property
    def cursor(self) -> str:
        """Up to where the event log was read."""
        return self._cursor

    def snapshot(self) -> Snapshot:
        """Return how far it is."""
        return Snapshot(
            self._clock.steady() - self._started,
            self._messages,
            self._taken + len(self.refused),
            self._by_http,
            self.ledger,
            self._handed,
        )

    async def run(
        self,
        *,
        within_s: float,
        interrupted: asyncio.Event,
        show: Callable[[Snapshot], None],
    ) -> Ending:
        """Send everything and return when all of it has ended, or why before.

        Raises:
            DoorError, OSError, HTTPException: the event log could not be read; in a group.
        """
        loop = asyncio.get_running_loop()
        self._started = self._clock.steady()
        with _threads(CLIENTS + 2) as threads:
            async with asyncio.TaskGroup() as tasks:
                if self._job is not None:
                    crm = partial(self._hand_over, loop, self._job)
                    tasks.create_task(_run_in(threads, crm), name="CRM")
                for number in range(min(CLIENTS, self._messages)):
                    tasks.create_task(
                        _run_in(threads, partial(self._send_all, loop)),
                        name=f"client {number}",
                    )
                try:
                    return await self._watch(threads, within_s, interrupted, show)
                finally:
                    self._is_over.set()

    async def settle(self, queued: AbstractSet[Delivery]) -> Balance:
        """Return the balance, when the node has stopped and all events are noted.

        ``queued`` are the deliveries that the node still holds.
        """
        await self._examiner.finish()
        return balance(self.ledger, queued)

    def _send_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send drafts until there are no more; runs in a thread."""
        with Client(self._doors, self._clock.now) as client:
            while self._drafts and not self._is_over.is_set():
                try:
                    draft = self._drafts.popleft()
                except IndexError:  # another one was faster
                    return
                try:
                    receipt = client.send(draft)
                except DoorError as error:
                    text = f"message {draft.number}: {error}"
                    loop.call_soon_threadsafe(self.refused.append, text)
                else:
                    loop.call_soon_threadsafe(self._note_receipt, receipt)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        """Hand the campaign over; runs in a thread."""
        try:
            handed = hand_over(self._doors, job, self._is_over)
        except DoorError as error:
            loop.call_soon_threadsafe(self._note_failure, job, str(error))
        else:
            if handed is not None:
                loop.call_soon_threadsafe(self._note_campaign, job, handed)

    def _note_campaign(self, job: Job, handed: Handed) -> None:
        self._handed = handed
        # Nobody waits for what is missing: it is a fault already.
        self._messages += len(handed.receipts) - len(job.members)
        self.refused += handed.wrong
        self._taken += len(handed.receipts)
        for each in handed.receipts:
            recipient = each.member.person.canonical
            self.ledger.acknowledged(each.message, [recipient], each.promise)
            expected = Composed(each.member.content())
            self._examiner.expect(each.promise.message_id, expected)

    def _note_failure(self, job: Job, text: str) -> None:
        """Give the campaign up: nobody waits for its messages."""
        self._messages -= len(job.members)
        self.refused.append(text)

    def _note_receipt(self, receipt: Receipt) -> None:
        self._taken += 1
        draft = receipt.draft
        recipients = [each.canonical for each in draft.recipients]
        if draft.door.is_http:
            self._by_http += len(recipients)
        promise = Promise(receipt.message_id, receipt.author_domain)
        self.ledger.acknowledged(receipt.message, recipients, promise)
        self._examiner.expect(receipt.message_id, receipt.expected)

    async def _watch(
        self,
        threads: ThreadPoolExecutor,
        within_s: float,
        interrupted: asyncio.Event,
        show: Callable[[Snapshot], None],
    ) -> Ending:
        with closing(EventFeed(self._doors)) as feed:
            while True:
                found, is_more = await _run_in(threads, feed.read)
                self._cursor = feed.cursor
                for event in found:
                    self.ledger.happened(event)
                await self._examiner.examine()
                now = self.snapshot()
                show(now)
                if now.sent == now.messages and not self.ledger.open:
                    return Ending.SETTLED
                if interrupted.is_set():
                    return Ending.INTERRUPTED
                if now.seconds >= within_s:
                    return Ending.TIME_OVER
                if not is_more:
                    await _pause(interrupted)


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(count, thread_name_prefix="demo")
    try:
        yield threads
    finally:
        # Never wait here: a client that waits for the node's answer needs the loop.
        threads.shutdown(wait=False, cancel_futures=True)


async def _run_in(threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def _pause(interrupted: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(TICK_S):
            await interrupted.wait()
    except TimeoutError:
        return
