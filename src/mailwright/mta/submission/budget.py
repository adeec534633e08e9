"""One budget of octets for all doors and sessions.

Content in memory is what can make a node run out of it, so content is counted, not
connections or messages. Who cannot have its octets in time is told to come back later
(452 4.3.1).
"""

import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Waiter:
    octets: int
    granted: asyncio.Future[None]


class ByteBudget:
    """Octets that may be held; waiters are served in turn.

    Used on one event loop only.
    """

    def __init__(self, octets: int) -> None:
        self._total = octets
        self._free = octets
        self._waiters: deque[_Waiter] = deque()

    @property
    def total(self) -> int:
        """Octets that may be held by all together."""
        return self._total

    @property
    def free(self) -> int:
        """Octets that nobody holds."""
        return self._free

    def try_acquire(self, octets: int) -> bool:
        """Take ``octets`` at once, unless they are not free or others wait for theirs."""
        if octets > self._free or self._waiters:
            return False
        self._free -= octets
        return True

    async def acquire(self, octets: int, *, within_s: float) -> bool:
        """Take ``octets``, waiting for them; false when they did not come in time.

        More than the whole budget is refused at once.
        """
        if self.try_acquire(octets):
            return True
        if octets > self._total:
            return False
        waiter = _Waiter(octets, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within_s):
                await waiter.granted
        except TimeoutError:
            return waiter.granted.done() and not waiter.granted.cancelled()
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.release(octets)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                # It may have stood before one that fits.
                self._serve()
        return True

    def release(self, octets: int) -> None:
        """Give back what was taken."""
        self._free += octets
        self._serve()

    def _serve(self) -> None:
        while self._waiters and self._waiters[0].octets <= self._free:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                self._free -= waiter.octets
                waiter.granted.set_result(None)


class Holding:
    """What one message holds of a budget."""

    def __init__(self, budget: ByteBudget, *, within_s: float) -> None:
        """Hold nothing yet; ``within_s`` is how long to wait each time for more."""
        self._budget = budget
        self._within_s = within_s
        self._octets = 0

    def try_extend(self, octets: int) -> bool:
        """Take ``octets`` more, if they can be had at once."""
        is_granted = self._budget.try_acquire(octets)
        if is_granted:
            self._octets += octets
        return is_granted

    async def extend(self, octets: int) -> bool:
        """Take ``octets`` more; false when they did not come in time."""
        is_granted = await self._budget.acquire(octets, within_s=self._within_s)
        if is_granted:
            self._octets += octets
        return is_granted

    def shrink(self, octets: int) -> None:
        """Hold no more than ``octets``; what is over them is given back."""
        if octets < self._octets:
            self._budget.release(self._octets - octets)
            self._octets = octets

    def release(self) -> None:
        """Give back everything; it may be extended anew."""
        if self._octets:
            self._budget.release(self._octets)
            self._octets = 0
