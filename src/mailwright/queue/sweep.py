"""Sweeps: what waits in many lines, some of it at a time."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from mailwright.queue.choosing import slices
from mailwright.queue.claimed import Claimed, claimed_of
from mailwright.queue.line import Line
from mailwright.queue.operation_statements import WAITING_OF_LINE
from mailwright.store.ports import UnitStore

#: Lines that are read at once: of a campaign most hold one or two deliveries.
_LINES_AT_ONCE: Final = 32


async def waiting_of(
    store: UnitStore, lines: Sequence[Line], before: int, size: int
) -> AsyncIterator[Sequence[Claimed]]:
    """Yield up to ``size`` at a time of what waits in ``lines``, until nothing does.

    Accepted up to ``before``, in microseconds. Whoever takes a part must end it before
    it asks for the next, or it comes again.

    Raises:
        StoreError: it cannot be read.
    """
    for some in slices(lines, _LINES_AT_ONCE):
        left = [line for line in some if line.count > 0]
        while left:
            bounds = (
                WAITING_OF_LINE(line_id=line.id, before=before, slice=size)
                for line in left
            )
            found = await store.read(*bounds)
            waiting = [
                claimed_of(line, row)
                for line, rows in zip(left, found, strict=True)
                for row in rows
            ]
            for part in slices(waiting, size):
                yield part
            left = [
                line
                for line, rows in zip(left, found, strict=True)
                if len(rows) == size
            ]
