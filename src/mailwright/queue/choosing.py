"""What a selection names: lines, or deliveries of a message, and how many they are."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from mailwright.clock import from_micros
from mailwright.ids import HoldId, LineId
from mailwright.queue.book import LineBook
from mailwright.queue.claimed import Claimed, claimed_of
from mailwright.queue.delivery import State
from mailwright.queue.line import Line
from mailwright.queue.operation_statements import (
    NEXT_OF_LINE,
    UNSETTLED_DELIVERY,
    UNSETTLED_OF_MESSAGE,
)
from mailwright.queue.ports import Router
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.selection import Selection, SelectionError
from mailwright.site import Site
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Row

_T = TypeVar("_T")

#: Lines that are looked at before the loop serves others: about a millisecond.
SWEEP_SLICE: Final = 500
#: Domains that are looked up to find out their provider, at most.
LOOKUPS_MAX: Final = 2_000
_LOOKUPS_AT_ONCE: Final = 16
EMPTY: Final = "name what it is for: an empty selection would be everything"


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


class Chosen(NamedTuple):
    """Lines, and how many domains may have more of them."""

    lines: Sequence[Line]
    unresolved: int = 0

    def extent(self) -> Extent:
        """Add them up."""
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

    @property
    def waits(self) -> bool:
        """Whether no session has it."""
        return self.state is State.QUEUED


def extent_of(found: Sequence[Unsettled]) -> Extent:
    """Add ``found`` up."""
    waiting = sum(each.waits for each in found)
    lines = len(lines_of(each.claimed for each in found))
    return Extent(lines, waiting, len(found) - waiting)


def lines_of(claimed: Iterable[Claimed]) -> list[Line]:
    """Return the lines of deliveries, each once."""
    return list({each.line.id: each.line for each in claimed}.values())


def slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield ``items`` in parts of at most ``size``."""
    return (items[at : at + size] for at in range(0, len(items), size))


class Choosing:
    """Finds what selections name. Asks the router for providers that are not known."""

    def __init__(
        self, store: UnitStore, book: LineBook, scheduler: Scheduler, router: Router
    ) -> None:
        self._store = store
        self._book = book
        self._scheduler = scheduler
        self._router = router

    def provider(self, line: Line) -> str | None:
        """Return the provider where mail of ``line`` goes, if it is known."""
        site = self._scheduler.site_of(line)
        return None if site is None else site.profile.provider

    async def lines(self, selection: Selection) -> Chosen:
        """Return the lines of ``selection`` with mail.

        Raises:
            SelectionError: it is empty, or names deliveries.
        """
        if selection.is_empty:
            raise SelectionError(EMPTY)
        if selection.names_deliveries:
            raise SelectionError("name lines, not messages or deliveries")
        unresolved = 0
        if selection.provider is not None:
            unresolved = await self._resolve(replace(selection, provider=None))
        lines: list[Line] = []
        for some in slices(list(self._book), SWEEP_SLICE):
            lines += [
                line
                for line in some
                if line.count > 0 and selection.matches(line, self.provider(line))
            ]
            await asyncio.sleep(0)
        return Chosen(lines, unresolved)

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
        return [
            each
            for each in self._unsettled(rows)
            if selection.matches(each.claimed.line, self.provider(each.claimed.line))
            and selection.message in {None, each.claimed.message}
            and selection.accepted_on in {None, each.claimed.accepted_on}
        ]

    async def next_of(self, line: Line, most: int) -> list[Unsettled]:
        """Return up to ``most`` deliveries that wait in ``line``, as they will leave."""
        (rows,) = await self._store.read(NEXT_OF_LINE(line_id=line.id, most=most))
        return self._unsettled(rows)

    def _unsettled(self, rows: Sequence[Row]) -> list[Unsettled]:
        found = []
        for row in rows:
            number, state, due_at = row[-3:]
            line = self._book.get(LineId(number))
            if line is not None:
                claimed = claimed_of(line, row[:-3])
                found.append(Unsettled(claimed, State(state), from_micros(due_at)))
        return found

    async def _resolve(self, selection: Selection) -> int:
        """Find out the sites of the domains selected; return how many stay unknown."""
        unknown = {
            line.key.domain
            for line in self._book
            if line.count > 0
            and selection.matches(line, None)
            and self._scheduler.site_of(line) is None
        }
        asked = sorted(unknown)[:LOOKUPS_MAX]
        room = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        found = 0

        async def ask(domain: str) -> None:
            nonlocal found
            async with room:
                answer = await self._router.site_of(domain)
            if isinstance(answer, Site):
                self._scheduler.remember(domain, answer)
                found += 1

        async with asyncio.TaskGroup() as tasks:
            for domain in asked:
                tasks.create_task(ask(domain))
        return len(unknown) - found
