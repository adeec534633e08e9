"""What people do to the queue: hold, release, retry, cancel and move.

Each is for a selection, never for an empty one, and answers how many lines and waiting
deliveries it is for; with ``dry_run`` that is all. A hold and a cancellation act as soon
as their row is durable, whatever waits in the lines; the rows of a cancellation go in
slices that yield to everything else, and go on after a restart.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from mailwright.clock import Clock, from_micros, to_micros
from mailwright.events.types import EventType
from mailwright.ids import LineId, PoolId
from mailwright.queue.book import LineBook
from mailwright.queue.delivery import State
from mailwright.queue.holds import (
    OPEN_HOLDS,
    RELEASE_HOLD,
    Hold,
    HoldId,
    Holds,
    hold_of,
)
from mailwright.queue.line import Line
from mailwright.queue.ports import Router
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.selection import Selection, SelectionError
from mailwright.queue.settle import Claimed, claimed_of, end_waiting
from mailwright.queue.statements import (
    BRING_FORWARD,
    LINE_DUE,
    MAKE_DUE,
    MOVE_LINE,
    UNSETTLED_DELIVERY,
    UNSETTLED_OF_MESSAGE,
    WAITING_OF_LINE,
)
from mailwright.queue.tally import Tally
from mailwright.site import Site
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Step, Unit, Urgency, unit

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

#: Deliveries that are cancelled in one go; about 3 ms of statements.
CANCEL_SLICE: Final = 50
#: Deliveries that are brought forward in one go.
RETRY_SLICE: Final = 200
#: Lines that are moved in one go.
MOVE_SLICE: Final = 200
#: Lines that are looked at before the loop serves others: about a millisecond.
SWEEP_SLICE: Final = 500
#: Domains that are looked up to find out their provider, at most.
LOOKUPS_MAX: Final = 2_000
_LOOKUPS_AT_ONCE: Final = 16
_EMPTY: Final = "name what it is for: an empty selection would be everything"
#: How often ends of holds, and what is left of cancellations, are looked at.
LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Extent:
    """What an operation is for, or was.

    Attributes:
        deliveries: that wait; those under way are left alone.
        under_way: deliveries in a session at this moment.
        unresolved: domains whose provider could not be found out; they are left out.
        hold: made by it.
    """

    lines: int
    deliveries: int
    under_way: int = 0
    unresolved: int = 0
    hold: HoldId | None = None


def _nothing() -> None:
    pass


class _Chosen(NamedTuple):
    lines: Sequence[Line]
    unresolved: int

    def extent(self) -> Extent:
        return Extent(
            len(self.lines),
            sum(line.count - line.sending for line in self.lines),
            sum(line.sending for line in self.lines),
            self.unresolved,
        )


class Unsettled(NamedTuple):
    """A delivery that is not final, as its row says."""

    claimed: Claimed
    state: State
    due_at: datetime


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
        self._store = store
        self.router = router
        self._clock = clock
        self._next_id = next_id
        self._tally = tally or Tally()
        self._look_s = look_s
        self._recall = recall
        self._wake = asyncio.Event()
        #: Cancellations that have not counted yet what they are for.
        self._uncounted: set[HoldId] = set()

    async def load(self) -> None:
        """Take over the holds in force; before the scheduler runs."""
        (rows,) = await self._store.read(OPEN_HOLDS())
        for row in rows:
            self.holds.add(hold_of(row))
        for line in self.book:
            line.is_held = self.holds.stops(line, None)

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

    async def lines_of(self, selection: Selection) -> tuple[Sequence[Line], int]:
        """Return the lines of ``selection`` with mail, and how many are unresolved.

        Raises:
            SelectionError: it is empty, or names deliveries.
        """
        return await self._choose(selection)

    async def hold(
        self,
        selection: Selection,
        *,
        reason: str,
        author: str,
        ends_at: datetime | None = None,
        dry_run: bool = False,
    ) -> Extent:
        """Stop what is selected, and whatever comes to it, until released or the end.

        Raises:
            SelectionError: the selection is empty or names deliveries.
            StoreError: nothing is held.
        """
        if selection.names_deliveries:
            raise SelectionError("a hold stops lines, not messages or deliveries")
        if dry_run:
            return (await self._choose(selection)).extent()
        hold = await self._impose(selection, reason, author, ends_at)
        return await self._held(hold)

    def held_by(self, selection: Selection, hold_id: HoldId | None) -> list[Hold]:
        """Return the holds that :meth:`release` would end."""
        if hold_id is None and selection.is_empty:
            raise SelectionError(_EMPTY)
        return [
            hold
            for hold in self.holds
            if hold_id in {None, hold.id}
            and selection.covers(hold.selection)
            and not hold.cancels
        ]

    async def release(
        self,
        selection: Selection,
        hold_id: HoldId | None = None,
        *,
        dry_run: bool = False,
    ) -> tuple[Sequence[Hold], Extent]:
        """End the holds whose scope names all that ``selection`` does.

        Returns them, and what they stopped.

        Raises:
            SelectionError: neither names anything.
            StoreError: some may be in force still.
        """
        ending = self.held_by(selection, hold_id)
        stopped = [
            line
            for line in self.book
            if line.count > 0
            and any(
                each.selection.matches(line, self._provider(line)) for each in ending
            )
        ]
        if not dry_run:
            for hold in ending:
                await self._end(hold)
        return ending, _Chosen(stopped, 0).extent()

    async def retry(self, selection: Selection, *, dry_run: bool = False) -> Extent:
        """Make what is selected due now; what is to leave later keeps its time.

        Raises:
            SelectionError: the selection is empty.
            StoreError: only a part may be due.
        """
        if selection.names_deliveries:
            return await self._retry_named(selection, dry_run=dry_run)
        chosen = await self._choose(selection)
        extent = chosen.extent()
        if dry_run:
            return extent
        for line in chosen.lines:
            await self._bring_forward(line)
        return extent

    async def cancel(
        self,
        selection: Selection,
        *,
        reason: str,
        author: str,
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
        if selection.names_deliveries:
            return await self._cancel_named(selection, dry_run=dry_run)
        if dry_run:
            return (await self._choose(selection)).extent()
        hold = await self._impose(selection, reason, author, None, cancels=True)
        try:
            return await self._held(hold)
        finally:
            self._uncounted.discard(hold.id)
            self._wake.set()

    async def move(
        self, selection: Selection, pool: PoolId, *, dry_run: bool = False
    ) -> Extent:
        """Let the selected lines leave from ``pool``; writes lines, not deliveries.

        Mail that is accepted later goes where its stream says.

        Raises:
            SelectionError: the selection is empty or names deliveries.
            StoreError: only a part may be moved.
        """
        _refuse_everything(selection)
        if selection.names_deliveries:
            raise SelectionError("only lines move, not messages or deliveries")
        lines, unresolved = await self._choose(selection)
        moving = [line for line in lines if line.key.pool != pool]
        extent = _Chosen(moving, unresolved).extent()
        if dry_run:
            return extent
        for some in _slices(moving, MOVE_SLICE):
            steps = (MOVE_LINE(line_id=line.id, to_pool=pool) for line in some)
            await self._store.run(unit(*steps))
            for line in some:
                self.book.move(line, pool)
                self.scheduler.restart(line)
        return extent

    async def named(self, selection: Selection) -> list[Unsettled]:
        """Return the deliveries that are not final of a message, or the one named."""
        of_tenant = selection.tenant or 0
        if selection.delivery is not None:
            query = UNSETTLED_DELIVERY(
                delivery_id=selection.delivery, of_tenant=of_tenant
            )
        else:
            query = UNSETTLED_OF_MESSAGE(
                message_id=selection.message, of_tenant=of_tenant
            )
        (rows,) = await self._store.read(query)
        found = []
        for row in rows:
            line = self.book.get(LineId(row[-3]))
            if line is None or not selection.matches(line, self._provider(line)):
                continue
            claimed = claimed_of(line, row[:-3])
            if selection.message in {None, claimed.message}:
                found.append(Unsettled(claimed, State(row[-2]), from_micros(row[-1])))
        return found

    async def _choose(self, selection: Selection) -> _Chosen:
        if selection.is_empty:
            raise SelectionError(_EMPTY)
        if selection.names_deliveries:
            raise SelectionError("name lines, not messages or deliveries")
        unresolved = 0
        if selection.provider is not None:
            unresolved = await self._resolve(replace(selection, provider=None))
        lines = []
        for some in _slices(list(self.book), SWEEP_SLICE):
            lines += [
                line
                for line in some
                if line.count > 0 and selection.matches(line, self._provider(line))
            ]
            await asyncio.sleep(0)
        return _Chosen(lines, unresolved)

    async def _resolve(self, selection: Selection) -> int:
        """Find out the sites of the domains selected; return how many stay unknown."""
        unknown = {
            line.key.domain
            for line in self.book
            if selection.matches(line, None) and self.scheduler.site_of(line) is None
        }
        asked = sorted(unknown)[:LOOKUPS_MAX]
        room = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        found = 0

        async def ask(domain: str) -> None:
            nonlocal found
            async with room:
                answer = await self.router.site_of(domain)
            if isinstance(answer, Site):
                self.scheduler.remember(domain, answer)
                found += 1

        async with asyncio.TaskGroup() as tasks:
            for domain in asked:
                tasks.create_task(ask(domain))
        return len(unknown) - found

    def _provider(self, line: Line) -> str | None:
        site = self.scheduler.site_of(line)
        return None if site is None else site.profile.provider

    async def _impose(
        self,
        selection: Selection,
        reason: str,
        author: str,
        ends_at: datetime | None,
        *,
        cancels: bool = False,
    ) -> Hold:
        if selection.is_empty:
            raise SelectionError(_EMPTY)
        now = self._clock.now()
        number = HoldId(self._next_id())
        hold = Hold(number, selection, reason, author, now, ends_at, cancels)
        await self._store.run(unit(hold.to_row()))
        self.holds.add(hold)
        if selection.everything:
            self._recall()  # the scheduler asks: no line has to be marked
            return hold
        if cancels:
            self._uncounted.add(number)
        for some in _slices(list(self.book), SWEEP_SLICE):
            for line in some:
                if selection.matches(line, self._provider(line)):
                    self.scheduler.hold(line)
            await asyncio.sleep(0)
        return hold

    async def _held(self, hold: Hold) -> Extent:
        """Return what ``hold`` stops; it does so while sites are found out."""
        chosen = await self._choose(hold.selection)
        if hold.selection.everything:
            return replace(chosen.extent(), hold=hold.id)
        for line in chosen.lines:
            if not line.is_held and hold.id in self.holds:
                self.scheduler.hold(line)
        return replace(chosen.extent(), hold=hold.id)

    async def _end(self, hold: Hold) -> None:
        now = to_micros(self._clock.now())
        guard = RELEASE_HOLD(hold_id=hold.id, now=now)
        await self._store.run(Unit((Step(guard),)))
        self.holds.remove(hold)
        if hold.selection.everything:
            self.scheduler.resume()
            return
        for some in _slices(list(self.book), SWEEP_SLICE):
            for line in some:
                if line.is_held and not self.holds.stops(line, self._provider(line)):
                    self.scheduler.release(line)
            await asyncio.sleep(0)

    async def _look(self) -> None:
        for hold in self.holds.ended(self._clock.now()):
            await self._end(hold)
        for hold in self.holds:
            if hold.id in self._uncounted or not hold.cancels:
                continue
            if await self._cancel_waiting(hold):
                await self._end(hold)

    async def _cancel_waiting(self, hold: Hold) -> bool:
        """Cancel what waits; return whether nothing is left that might come back."""
        before = to_micros(hold.created_at)
        is_over = True
        for line in list(self.book):
            if line.count <= 0:
                continue
            if not hold.selection.matches(line, self._provider(line)):
                continue
            while True:
                (rows,) = await self._store.read(
                    WAITING_OF_LINE(line_id=line.id, before=before, slice=CANCEL_SLICE)
                )
                await self._take_back([claimed_of(line, row) for row in rows])
                if len(rows) < CANCEL_SLICE:
                    break
            is_over = is_over and not line.sending and not line.claiming
        return is_over

    async def _take_back(self, waiting: Sequence[Claimed]) -> int:
        """Cancel deliveries that wait; return how many of them did still."""
        if not waiting:
            return 0
        now = self._clock.now()
        steps = tuple(
            end_waiting(each, State.CANCELLED, node=self._store.node, now=now)
            for each in waiting
        )
        results = await self._store.run(Unit(steps, Urgency.BULK))
        taken = [each for each, rows in zip(waiting, results, strict=True) if rows]
        for each in taken:
            each.line.count -= 1
            self._tally.count(EventType.CANCELLED, each.line.key.pool)
        return len(taken)

    async def _cancel_named(self, selection: Selection, *, dry_run: bool) -> Extent:
        found = await self.named(selection)
        waiting = [each.claimed for each in found if each.state is State.QUEUED]
        extent = _extent_of(found)
        if dry_run:
            return extent
        taken = 0
        for some in _slices(waiting, CANCEL_SLICE):
            taken += await self._take_back(some)
        return replace(extent, deliveries=taken, under_way=len(found) - taken)

    async def _bring_forward(self, line: Line) -> None:
        due = self._clock.now()
        micros = to_micros(due)
        brought, is_all = 0, False
        while not is_all:
            guard = BRING_FORWARD(line_id=line.id, due=micros, slice=RETRY_SLICE)
            then = LINE_DUE(line_id=line.id, due=micros)
            step = Step(guard), Step(then=(then,))
            (rows, _) = await self._store.run(Unit(step, Urgency.BULK))
            brought += len(rows)
            is_all = len(rows) < RETRY_SLICE
            if brought and line.next_due_at > due:
                line.due_again(due)
            self.scheduler.restart(line)

    async def _retry_named(self, selection: Selection, *, dry_run: bool) -> Extent:
        now = self._clock.now()
        found = await self.named(selection)
        extent = _extent_of(found)
        waiting = [
            each.claimed
            for each in found
            if each.state is State.QUEUED and (each.claimed.not_before or now) <= now
        ]
        if dry_run or not waiting:
            return extent
        due = to_micros(now)
        for some in _slices(waiting, RETRY_SLICE):
            await self._store.run(
                Unit(
                    tuple(
                        Step(
                            MAKE_DUE(delivery_id=each.id, due=due),
                            (LINE_DUE(line_id=each.line.id, due=due),),
                        )
                        for each in some
                    )
                )
            )
        for line in _lines(waiting):
            line.due_again(now)
            self.scheduler.restart(line)
        return extent


def _refuse_everything(selection: Selection) -> None:
    if selection.everything:
        raise SelectionError("only a stop can be for everything")


def _slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _lines(claimed: Iterable[Claimed]) -> list[Line]:
    return list({each.line.id: each.line for each in claimed}.values())


def _extent_of(found: Sequence[Unsettled]) -> Extent:
    waiting = sum(each.state is State.QUEUED for each in found)
    lines = len(_lines(each.claimed for each in found))
    return Extent(lines, waiting, len(found) - waiting)
