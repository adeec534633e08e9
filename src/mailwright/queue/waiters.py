"""Connections of a lane that wait for mail, or for a limit, and can be roused."""

import asyncio


class Waiters:
    """Who waits, the first to come first."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        # Few wait, and of lanes there are many: an empty deque takes 700 octets.
        self._futures: list[asyncio.Future[bool]] = []

    def __bool__(self) -> bool:
        return bool(self._futures)

    async def wait(self, most_s: float) -> bool:
        """Wait to be roused; false: time is over, or to be closed."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._futures.append(waiter)
        try:
            async with asyncio.timeout(most_s):
                return await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._futures:
                self._futures.remove(waiter)

    def rouse(self, *, carry_on: bool) -> bool:
        """End one wait, if there is one; return whether there was."""
        while self._futures:
            waiter = self._futures.pop(0)
            if not waiter.done():
                waiter.set_result(carry_on)
                return True
        return False
