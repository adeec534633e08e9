"""Cancelling: what waits is taken back, in slices that yield to everything else."""

import asyncio
from collections.abc import Sequence
from typing import Final

from mailwright.clock import Clock, to_micros
from mailwright.events.types import EventType
from mailwright.queue.choosing import (
    SWEEP_SLICE,
    Choosing,
    Extent,
    extent_of,
    slices,
)
from mailwright.queue.claimed import Claimed
from mailwright.queue.delivery import State
from mailwright.queue.holds import Hold
from mailwright.queue.line import Line
from mailwright.queue.selection import Selection
from mailwright.queue.settle import end_waiting
from mailwright.queue.sweep import waiting_of
from mailwright.queue.tally import Tally
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Unit, Urgency

#: Deliveries that are cancelled in one go; about 3 ms of statements.
CANCEL_SLICE: Final = 50


class Cancelling:
    """Takes back what waits, each with its event."""

    def __init__(
        self, store: UnitStore, choosing: Choosing, clock: Clock, tally: Tally
    ) -> None:
        self._store = store
        self._choosing = choosing
        self._clock = clock
        self._tally = tally

    async def named(self, selection: Selection) -> Extent:
        """Cancel the deliveries named that wait; return how many did.

        Raises:
            StoreError: only a part is cancelled.
        """
        found = await self._choosing.named(selection)
        taken = 0
        for some in slices(
            [each.claimed for each in found if each.waits], CANCEL_SLICE
        ):
            taken += await self._take_back(some)
        return Extent(extent_of(found).lines, taken, len(found) - taken)

    async def waiting(self, hold: Hold, lines: Sequence[Line]) -> bool:
        """Cancel what waits in ``lines`` and ``hold`` takes back.

        Returns whether nothing is left in them that might come back.

        Raises:
            StoreError: only a part is cancelled.
        """
        mine: list[Line] = []
        for some in slices(lines, SWEEP_SLICE):
            mine += (
                line
                for line in some
                if line.count > 0 and hold.stops(line, self._choosing.provider(line))
            )
            await asyncio.sleep(0)
        # As of before the look: what comes back during it may not be seen by it.
        is_over = not any(line.sending or line.claiming for line in mine)
        before = to_micros(hold.created_at)
        async for waiting in waiting_of(self._store, mine, before, CANCEL_SLICE):
            await self._take_back(waiting)
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
