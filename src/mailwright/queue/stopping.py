"""Stopping all mail, and letting it go again.

A stop is a hold whose scope is everything: one durable row with author, reason and end,
for all nodes of the database and for what they accept later. It is asked for by its own
name and never by an empty selection. While a node runs it acts at once; while none does,
the row is written for the next start.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from mailwright.clock import Clock, to_micros
from mailwright.ids import HoldId
from mailwright.queue.holds import OPEN_HOLDS, RELEASE_HOLD, Hold, hold_of
from mailwright.queue.operations import Operations
from mailwright.queue.selection import EVERYTHING
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Step, Unit, unit


class Stopping:
    """Stops all mail and releases it, on a running node or on a database at rest."""

    def __init__(
        self,
        store: UnitStore,
        clock: Clock,
        next_id: Callable[[], int],
        operations: Operations | None = None,
    ) -> None:
        """``operations`` are those of the node that runs on ``store``, if one does."""
        self._store = store
        self._clock = clock
        self._next_id = next_id
        self._operations = operations

    async def stops(self) -> Sequence[Hold]:
        """Return the stops in force."""
        if self._operations is not None:
            return self._operations.holds.of_everything()
        (rows,) = await self._store.read(OPEN_HOLDS())
        return [hold for hold in map(hold_of, rows) if hold.selection.everything]

    async def stop_all(
        self, *, reason: str, author: str, ends_at: datetime | None = None
    ) -> None:
        """Let nothing leave from now on; durable on return.

        What is on the wire at this moment ends; mail is accepted as before.

        Raises:
            StoreError: nothing is stopped.
        """
        if self._operations is not None:
            await self._operations.hold(
                EVERYTHING, reason=reason, author=author, ends_at=ends_at
            )
            return
        number = HoldId(self._next_id())
        now = self._clock.now()
        hold = Hold(number, EVERYTHING, reason, author, now, ends_at)
        await self._store.run(unit(hold.to_row()))

    async def release_all(self) -> Sequence[Hold]:
        """End every stop of all mail and return them; other holds stay.

        Raises:
            StoreError: some may be in force still.
        """
        if self._operations is not None:
            ended, _ = await self._operations.release(EVERYTHING)
            return ended
        ended = await self.stops()
        now = to_micros(self._clock.now())
        for hold in ended:
            await self._store.run(Unit((Step(RELEASE_HOLD(hold_id=hold.id, now=now)),)))
        return ended
