"""Moving: lines leave from another pool; of whole lines no delivery is written."""

from collections.abc import Callable, Sequence
from typing import Final

from mailwright.ids import PoolId
from mailwright.queue.book import LineBook
from mailwright.queue.choosing import Choosing, Chosen, Extent, extent_of, slices
from mailwright.queue.line import Line
from mailwright.queue.operation_statements import MOVE_LINE
from mailwright.queue.parting import Parting
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.selection import Selection
from mailwright.store.ports import UnitStore
from mailwright.store.statements import unit

#: Lines that are moved in one go.
MOVE_SLICE: Final = 200


class Moving:
    """Moves what waits to other pools.

    Args:
        start: lets the scheduler know lines that were parted from others.
    """

    def __init__(
        self,
        store: UnitStore,
        book: LineBook,
        scheduler: Scheduler,
        choosing: Choosing,
        parting: Parting,
        start: Callable[[Sequence[Line]], None],
    ) -> None:
        self._store = store
        self._book = book
        self._scheduler = scheduler
        self._choosing = choosing
        self._parting = parting
        self._start = start

    async def lines(
        self, selection: Selection, pool: PoolId, *, dry_run: bool = False
    ) -> Extent:
        """Move the lines of ``selection``; return how many were elsewhere.

        Raises:
            SelectionError: it is empty.
            StoreError: only a part is moved.
        """
        lines, unresolved = await self._choosing.lines(selection)
        moving = [line for line in lines if line.key.pool != pool]
        extent = Chosen(moving, unresolved).extent()
        if dry_run:
            return extent
        for some in slices(moving, MOVE_SLICE):
            steps = (MOVE_LINE(line_id=line.id, to_pool=pool) for line in some)
            await self._store.run(unit(*steps))
            for line in some:
                self._book.move(line, pool)
                self._scheduler.restart(line)
        return extent

    async def named(
        self, selection: Selection, pool: PoolId, *, dry_run: bool = False
    ) -> Extent:
        """Move the deliveries that ``selection`` names; they are parted from others.

        Raises:
            StoreError: only a part is moved.
        """
        found = await self._choosing.named(selection)
        moving = [each for each in found if each.claimed.line.key.pool != pool]
        if not dry_run:
            waiting = [each for each in moving if each.waits]
            self._start(await self._parting.part(waiting, pool=pool))
        return extent_of(moving)
