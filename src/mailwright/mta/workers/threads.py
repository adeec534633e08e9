"""Preparing in threads of the node: less memory, and its interpreter lock is shared."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mailwright.attempt import Parcel
from mailwright.mta.workers.ready import Outcome, Preparer, make_ready


class ThreadWorkers:
    """Implements :class:`~mailwright.mta.workers.ready.Workers`."""

    def __init__(
        self,
        preparer: Preparer,
        count: int,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Use up to ``count`` threads; they begin with the first parcels.

        ``on_end`` closes what the preparer has; it is called when they have ended.
        """
        self._preparer = preparer
        self._on_end = on_end
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="preparing")
        self._stopped = asyncio.Event()

    async def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> Sequence[Outcome]:
        """Return one outcome for each parcel, in their order."""
        work = partial(make_ready, self._preparer, parcels, has_8bitmime=has_8bitmime)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def run(self) -> None:
        """Return after :meth:`stop`, when the threads have ended."""
        try:
            await self._stopped.wait()
        finally:
            # A batch takes milliseconds; nobody waits for what has not begun.
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._on_end()

    def stop(self) -> None:
        """End the threads; call it when nothing is in flight any more."""
        self._stopped.set()
