"""Parting: deliveries of a line that wait go into a line of their own.

Holds, pools and turns belong to lines, never to deliveries. So what people do to one
message is done to a line that holds nothing else: it has the key of the line that it came
from, or another pool, and may name the hold that stops it. Accepts never add to it. Order
and due times stay as they were; what a session has in hand stays where it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from mailwright.clock import from_micros
from mailwright.ids import HoldId, PoolId
from mailwright.queue.book import LineBook
from mailwright.queue.choosing import Unsettled, slices
from mailwright.queue.line import Line
from mailwright.queue.operation_statements import PART
from mailwright.queue.statements import ADD_TO_LINE, TAKE_FROM_LINE
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Step, Unit, Urgency

#: Deliveries that are parted in one go; about 3 ms of statements.
PART_SLICE: Final = 50


class Parting:
    """Parts deliveries of one node's lines.

    Attributes:
        under_way: how many partings there are at this moment.
        done: how many there have been; lines that were listed before may not be all.
    """

    def __init__(self, store: UnitStore, book: LineBook) -> None:
        self._store = store
        self._book = book
        self.under_way = 0
        self.done = 0

    async def part(
        self,
        deliveries: Sequence[Unsettled],
        *,
        hold: HoldId | None = None,
        pool: PoolId | None = None,
    ) -> list[Line]:
        """Move ``deliveries`` that wait still into lines of their own; return these.

        A line for each that they come from. ``hold`` stops them, or else the hold that
        stopped them before; ``pool`` is theirs, or else the one of before. The scheduler
        does not know them yet.

        Raises:
            StoreError: only a part was moved.
        """
        self.under_way += 1
        try:
            ordered = sorted(deliveries, key=lambda each: each.claimed.line.id)
            return [
                await self._part(line, list(some), hold, pool)
                for line, some in groupby(ordered, key=lambda each: each.claimed.line)
            ]
        finally:
            self.under_way -= 1
            self.done += 1

    async def _part(
        self,
        line: Line,
        deliveries: Sequence[Unsettled],
        hold: HoldId | None,
        pool: PoolId | None,
    ) -> Line:
        key = line.key if pool is None else replace(line.key, pool=pool)
        own = self._book.open(key, line.hold if hold is None else hold)
        own.accepting += 1  # so that it is not closed while it is empty
        try:
            for some in slices(deliveries, PART_SLICE):
                steps = tuple(self._step(each, line, own) for each in some)
                results = await self._store.run(Unit(steps, Urgency.BULK))
                for ((due_at,),) in filter(None, results):
                    line.count -= 1
                    own.gained(from_micros(due_at))
        finally:
            own.accepting -= 1
        return own

    def _step(self, each: Unsettled, line: Line, own: Line) -> Step:
        add = ADD_TO_LINE(
            **own.key.to_row(),
            id=own.id,
            count=1,
            hold=own.hold,
            owner=self._store.node,
            epoch=self._store.epoch,
            until=None,
        )
        return Step(
            PART(delivery_id=each.claimed.id, line_id=line.id, to_line=own.id),
            (add, TAKE_FROM_LINE(line_id=line.id)),
            carry=True,  # when it is due
        )
