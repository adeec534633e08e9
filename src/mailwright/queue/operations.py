"""What people do to the queue: hold, release, retry, cancel and move.

Each is for a selection, never for an empty one, and answers how many lines and waiting
deliveries it is for; with ``dry_run`` that is all. A hold and a cancellation act as soon
as their row is durable, whatever waits in the lines; the rows of a cancellation go in
slices that yield to everything else, and go on after a restart.

A hold or a move of one message parts it from its lines first. What a session has of it at
that moment is left alone; for a hold it is parted when it comes back.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from mailwright.clock import Clock, to_micros
from mailwright.ids import HoldId, PoolId, TenantId
from mailwright.queue.book import LineBook
from mailwright.queue.cancelling import Cancelling
from mailwright.queue.choosing import (
    EMPTY,
    SWEEP_SLICE,
    Choosing,
    Chosen,
    Extent,
    extent_of,
    slices,
)
from mailwright.queue.hastening import Hastening
from mailwright.queue.holds import OPEN_HOLDS, RELEASE_HOLD, Hold, Holds, hold_of
from mailwright.queue.line import Line
from mailwright.queue.moving import Moving
from mailwright.queue.parting import Parting
from mailwright.queue.ports import Router
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.selection import Selection, SelectionError
from mailwright.queue.tally import Tally
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Step, Unit, unit

logger = logging.getLogger(__name__)

#: How often ends of holds, and what is left of cancellations, are looked at.
LOOK_S: Final = 1.0


def _nothing() -> None:
    pass


class Operations:
    """Operates one node's queue."""

    def __init__(
        self,
        *,
        store: UnitStore,
        book: LineBook,
        scheduler: Scheduler,
        holds: Holds,
        router: Router,
        clock: Clock,
        next_id: Callable[[], int],
        tally: Tally | None = None,
        look_s: float = LOOK_S,
        recall: Callable[[], None] = _nothing,
    ) -> None:
        """``holds`` are those that ``scheduler`` asks.

        ``recall`` takes back what sessions have not put on the wire yet.
        """
        self.holds = holds
        self.book = book
        self.scheduler = scheduler
        self.router = router
        self.choosing = Choosing(store, book, scheduler, router)
        self._parting = Parting(store, book)
        self._cancelling = Cancelling(store, self.choosing, clock, tally or Tally())
        self._moving = Moving(
            store, book, scheduler, self.choosing, self._parting, self._start
        )
        self._hastening = Hastening(store, self.choosing, scheduler, clock)
        self._store = store
        self._clock = clock
        self._next_id = next_id
        self._look_s = look_s
        self._recall = recall
        self._wake = asyncio.Event()
        #: Cancellations that have not counted yet what they are for.
        self._uncounted: set[HoldId] = set()
        #: Holds of messages of which a session may have something still.
        self._scattered: set[HoldId] = set()

    async def load(self) -> None:
        """Take over the holds in force; before the scheduler runs."""
        (rows,) = await self._store.read(OPEN_HOLDS())
        for row in rows:
            self.holds.add(hold_of(row))
        self._scattered.update(each.id for each in self.holds.named())
        for line in self.book:
            line.is_held = self.holds.stops(line, None)
        for hold in self.holds.named():
            await self._gather(hold)

    async def run(self) -> None:
        """End holds in time and carry cancellations out, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._look()
            except StoreError as error:
                logger.warning("holds and cancellations have to wait: %s", error)
            try:
                async with asyncio.timeout(self._look_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def notices(self) -> list[str]:
        """Return, in words for people, that all mail is stopped, and by whom."""
        return [
            f"all mail is held by {each.author}: {each.reason}"
            for each in self.holds.of_everything()
        ]

    def public_notices(self) -> list[str]:
        """Return the same for whoever asks: without author and reason."""
        is_stopped = bool(self.holds.of_everything())
        return ["all mail is held by the operator"] if is_stopped else []

    def stopping(self, line: Line) -> list[Hold]:
        """Return the holds that stop ``line``."""
        return self.holds.stopping(line, self.choosing.provider(line))

    async def hold(
        self,
        selection: Selection,
        *,
        reason: str,
        author: str,
        ends_at: datetime | None = None,
        owner: TenantId | None = None,
        dry_run: bool = False,
    ) -> Extent:
        """Stop what is selected until released or the end.

        Lines that come later are stopped too. Where a message or a delivery is named
        and nothing of it is left, no hold is made. ``owner`` may end it, and operators.

        Raises:
            SelectionError: the selection is empty.
            StoreError: nothing is held.
        """
        if selection.names_deliveries:
            found = extent_of(await self.choosing.named(selection))
            if dry_run or not found.lines:
                return found
        elif dry_run:
            return (await self.choosing.lines(selection)).extent()
        hold = self._made(selection, reason, author, ends_at, owner)
        await self._impose(hold)
        if not selection.names_deliveries:
            return await self._held(hold)
        await self._gather(hold)
        found = extent_of(await self.choosing.named(selection))
        return replace(found, hold=hold.id)

    def held_by(
        self,
        selection: Selection,
        hold_id: HoldId | None,
        owner: TenantId | None = None,
    ) -> list[Hold]:
        """Return the holds that :meth:`release` would end."""
        if hold_id is None and selection.is_empty:
            raise SelectionError(EMPTY)
        return [
            hold
            for hold in self.holds
            if hold_id in {None, hold.id}
            and owner in {None, hold.owner}
            and selection.covers(hold.selection)
            and not hold.cancels
        ]

    async def release(
        self,
        selection: Selection,
        hold_id: HoldId | None = None,
        *,
        owner: TenantId | None = None,
        dry_run: bool = False,
    ) -> tuple[Sequence[Hold], Extent]:
        """End the holds whose scope names all that ``selection`` does.

        Of ``owner`` only, if it is given. Returns them, and what they stopped.

        Raises:
            SelectionError: neither names anything.
            StoreError: some may be in force still.
        """
        ending = self.held_by(selection, hold_id, owner)
        stopped = [
            line
            for line in self.book
            if line.count > 0
            and any(each.stops(line, self.choosing.provider(line)) for each in ending)
        ]
        if not dry_run:
            for hold in ending:
                await self._end(hold)
        return ending, Chosen(stopped).extent()

    async def retry(self, selection: Selection, *, dry_run: bool = False) -> Extent:
        """Make what is selected due now; what is to leave later keeps its time.

        Raises:
            SelectionError: the selection is empty.
            StoreError: only a part may be due.
        """
        if dry_run:
            return await self._extent(selection)
        if selection.names_deliveries:
            return await self._hastening.named(selection)
        chosen = await self.choosing.lines(selection)
        extent = chosen.extent()
        for line in chosen.lines:
            await self._hastening.line(line)
        return extent

    async def cancel(
        self,
        selection: Selection,
        *,
        reason: str,
        author: str,
        owner: TenantId | None = None,
        dry_run: bool = False,
    ) -> Extent:
        """Take back what is selected and waits; it leaves no more from now on.

        What is under way is taken back if its attempt does not end it. Mail that is
        accepted later is not touched.

        Raises:
            SelectionError: the selection is empty.
            StoreError: nothing, or of named deliveries only a part, is cancelled.
        """
        _refuse_everything(selection)
        if dry_run:
            return await self._extent(selection)
        if selection.names_deliveries:
            return await self._cancelling.named(selection)
        hold = self._made(selection, reason, author, None, owner, cancels=True)
        self._uncounted.add(hold.id)
        try:
            await self._impose(hold)
            return await self._held(hold)
        finally:
            self._uncounted.discard(hold.id)
            self._wake.set()

    async def move(
        self, selection: Selection, pool: PoolId, *, dry_run: bool = False
    ) -> Extent:
        """Let what is selected leave from ``pool``; of lines no delivery is written.

        Mail that is accepted later goes where its stream says.

        Raises:
            SelectionError: the selection is empty.
            StoreError: only a part may be moved.
        """
        _refuse_everything(selection)
        if selection.names_deliveries:
            return await self._moving.named(selection, pool, dry_run=dry_run)
        return await self._moving.lines(selection, pool, dry_run=dry_run)

    async def _extent(self, selection: Selection) -> Extent:
        if selection.names_deliveries:
            return extent_of(await self.choosing.named(selection))
        return (await self.choosing.lines(selection)).extent()

    def _made(
        self,
        selection: Selection,
        reason: str,
        author: str,
        ends_at: datetime | None,
        owner: TenantId | None,
        *,
        cancels: bool = False,
    ) -> Hold:
        if selection.is_empty:
            raise SelectionError(EMPTY)
        now, number = self._clock.now(), HoldId(self._next_id())
        return Hold(number, selection, reason, author, now, ends_at, cancels, owner)

    async def _impose(self, hold: Hold) -> None:
        """Make ``hold`` durable, and let it act on the lines there are."""
        await self._store.run(unit(hold.to_row()))
        self.holds.add(hold)
        if hold.selection.everything:
            self._recall()  # the scheduler asks: no line has to be marked
            return
        for some in slices(list(self.book), SWEEP_SLICE):
            for line in some:
                if hold.stops(line, self.choosing.provider(line)):
                    self.scheduler.hold(line)
            await asyncio.sleep(0)

    async def _held(self, hold: Hold) -> Extent:
        """Return what ``hold`` stops; it does so while sites are found out."""
        chosen = await self.choosing.lines(hold.selection)
        if hold.selection.everything:
            return replace(chosen.extent(), hold=hold.id)
        for line in chosen.lines:
            if not line.is_held and hold.id in self.holds:
                self.scheduler.hold(line)
        return replace(chosen.extent(), hold=hold.id)

    async def _gather(self, hold: Hold, ending: HoldId | None = None) -> None:
        """Part what waits of a message from lines that no hold of it stops.

        The hold ``ending`` stops nothing any more.
        """
        stopping = {each.id for each in self.holds.named()} - {ending}
        found = await self.choosing.named(hold.selection)
        outside = [each for each in found if each.claimed.line.hold not in stopping]
        waiting = [each for each in outside if each.waits]
        self._start(await self._parting.part(waiting, hold=hold.id))
        if len(waiting) < len(outside):
            self._scattered.add(hold.id)
        else:
            self._scattered.discard(hold.id)

    def _start(self, lines: Sequence[Line]) -> None:
        """Let the scheduler know lines that were parted from others."""
        for line in lines:
            if self.holds.stops(line, self.choosing.provider(line)):
                self.scheduler.hold(line)
            else:
                self.scheduler.release(line)

    async def _end(self, hold: Hold) -> None:
        if hold.selection.names_deliveries:
            # What another hold stops too must not leave in between.
            for other in self.holds.named():
                if other is not hold and other.selection.may_share(hold.selection):
                    await self._gather(other, hold.id)
        now = to_micros(self._clock.now())
        guard = RELEASE_HOLD(hold_id=hold.id, now=now)
        await self._store.run(Unit((Step(guard),)))
        self.holds.remove(hold)
        self._scattered.discard(hold.id)
        if hold.selection.everything:
            self.scheduler.wake()
            return
        for some in slices(list(self.book), SWEEP_SLICE):
            for line in some:
                is_held = line.is_held
                if is_held and not self.holds.stops(line, self.choosing.provider(line)):
                    self.scheduler.release(line)
            await asyncio.sleep(0)

    async def _look(self) -> None:
        for hold in self.holds.ended(self._clock.now()):
            await self._end(hold)
        for hold in self.holds:
            if hold.id in self._scattered:
                await self._gather(hold)
            elif hold.cancels and hold.id not in self._uncounted:
                await self._carry_out(hold)

    async def _carry_out(self, hold: Hold) -> None:
        """Cancel what waits, and end the cancellation if nothing is left of it."""
        partings = self._parting.done
        is_over = await self._cancelling.waiting(hold, list(self.book))
        # What was parted meanwhile may be in lines that were not in the list.
        if is_over and self._parting.done == partings and not self._parting.under_way:
            await self._end(hold)


def _refuse_everything(selection: Selection) -> None:
    if selection.everything:
        raise SelectionError("only a stop can be for everything")
