"""Waits that have an end, thousands at once, with one timer for all of them.

``asyncio.timeout`` sets a timer for each and cancels nearly all of them: that costs more
than handing a unit to the store.
"""

import asyncio
from typing import Any


class WaitOverError(Exception):
    """What a future was waited for did not come in time."""


class Patience:
    """Ends futures that take too long. Those that are added later end later."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, future: asyncio.Future[Any], within_s: float) -> None:
        """Let ``future`` raise :class:`WaitOverError` unless it is done by then.

        Take it away with :meth:`remove`. With a shorter time than those added before, it
        may end as late as they do.
        """
        loop = asyncio.get_running_loop()
        deadline = self._ends[future] = loop.time() + within_s
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._look)

    def remove(self, future: asyncio.Future[Any]) -> None:
        """Look after ``future`` no more."""
        self._ends.pop(future, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        while self._ends:
            future, deadline = next(iter(self._ends.items()))
            if deadline > now:
                self._timer = loop.call_at(deadline, self._look)
                return
            del self._ends[future]
            if not future.done():
                future.set_exception(WaitOverError)
