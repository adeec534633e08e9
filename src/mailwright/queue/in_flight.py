"""How many deliveries may be ``sending`` at once: what a crash may cost in copies.

Every row in ``sending`` may be sent twice if the node dies now. So there are at most two
for each open connection, and what is sent in 50 ms; whoever would claim more waits until
settles are stored.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from mailwright.clock import Clock

PER_CONNECTION: Final = 2
WINDOW_S: Final = 0.05
#: Over which the rate is measured; half of the last one's counts on.
_MEASURE_S: Final = 0.5


class InFlight:
    """Counts rows in ``sending`` and those that claims under way have asked for."""

    def __init__(self, clock: Clock, connections: Callable[[], int]) -> None:
        """``connections`` returns how many are open."""
        self._clock = clock
        self._connections = connections
        self._count = 0
        self._ended = 0
        self._rate = 0.0
        self._since = clock.steady()
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def count(self) -> int:
        """Rows that are ``sending``, or about to be."""
        return self._count

    @property
    def room(self) -> int:
        """How many more may be claimed now; never negative."""
        bound = PER_CONNECTION * max(self._connections(), 1) + self._rate * WINDOW_S
        return max(int(bound) - self._count, 0)

    def began(self, rows: int) -> None:
        """Count ``rows`` that a claim asks for."""
        self._count += rows

    def unclaimed(self, rows: int) -> None:
        """Take back ``rows`` that a claim did not get."""
        self._count -= rows
        self._rouse()

    def settled(self) -> None:
        """Count one settle that is stored."""
        self._count -= 1
        self._ended += 1
        now = self._clock.steady()
        passed = now - self._since
        if passed >= _MEASURE_S:
            self._rate = (self._rate + self._ended / passed) / 2
            self._since, self._ended = now, 0
        self._rouse()

    async def wait_for_room(self) -> None:
        """Return when there is room for at least one; ask again before using it."""
        while not self.room:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _rouse(self) -> None:
        if not self._waiters or not self.room:
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
