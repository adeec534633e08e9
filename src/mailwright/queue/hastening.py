"""Hastening: what waits for its next attempt is due now."""

from typing import Final

from mailwright.clock import Clock, to_micros
from mailwright.queue.choosing import Choosing, Extent, extent_of, lines_of, slices
from mailwright.queue.claimed import Claimed
from mailwright.queue.line import Line
from mailwright.queue.operation_statements import BRING_FORWARD, BRING_ONE_FORWARD
from mailwright.queue.scheduler import Scheduler
from mailwright.queue.selection import Selection
from mailwright.queue.statements import LINE_DUE
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Step, Unit, Urgency

#: Deliveries that are brought forward in one go.
HASTEN_SLICE: Final = 200


class Hastening:
    """Makes what waits due now; what is to leave later keeps its time."""

    def __init__(
        self, store: UnitStore, choosing: Choosing, scheduler: Scheduler, clock: Clock
    ) -> None:
        self._store = store
        self._choosing = choosing
        self._scheduler = scheduler
        self._clock = clock

    async def line(self, line: Line) -> None:
        """Hasten all that waits in ``line``, and end its rest.

        Raises:
            StoreError: only a part is due.
        """
        due = self._clock.now()
        micros = to_micros(due)
        brought, is_all = 0, False
        while not is_all:
            guard = BRING_FORWARD(line_id=line.id, due=micros, slice=HASTEN_SLICE)
            then = LINE_DUE(line_id=line.id, due=micros)
            step = Step(guard), Step(then=(then,))
            (rows, _) = await self._store.run(Unit(step, Urgency.BULK))
            brought += len(rows)
            is_all = len(rows) < HASTEN_SLICE
            if brought and line.next_due_at > due:
                line.due_again(due)
            self._scheduler.restart(line)

    async def named(self, selection: Selection) -> Extent:
        """Hasten the deliveries named; return how many there are.

        Raises:
            StoreError: only a part is due.
        """
        now = self._clock.now()
        found = await self._choosing.named(selection)
        waiting = [
            each.claimed
            for each in found
            if each.waits and (each.claimed.not_before or now) <= now
        ]
        due = to_micros(now)
        for some in slices(waiting, HASTEN_SLICE):
            await self._store.run(Unit(tuple(_step(each, due) for each in some)))
        for line in lines_of(waiting):
            line.due_again(now)
            self._scheduler.restart(line)
        return extent_of(found)


def _step(claimed: Claimed, due: int) -> Step:
    line = claimed.line.id
    return Step(
        BRING_ONE_FORWARD(delivery_id=claimed.id, line_id=line, due=due),
        (LINE_DUE(line_id=line, due=due),),
    )
