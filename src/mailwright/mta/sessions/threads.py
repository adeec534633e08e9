"""Preparing in threads: beside an event loop, which keeps the interpreter lock busy."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from mailwright.attempt import End, Parcel
from mailwright.mta.sessions.ready import (
    OnReady,
    Outcome,
    Preparer,
    Refused,
    make_ready,
)
from mailwright.reply import Phase, local_reply

_log: Final = logging.getLogger(__name__)
_FAILED: Final = Refused(
    End.UNSIGNABLE,
    local_reply(451, "4.3.0", "not signed, not sent: preparing failed", Phase.DATA),
)


class ThreadWorkers:
    """Implements :class:`~mailwright.mta.sessions.ready.Workers`."""

    def __init__(
        self,
        preparer: Preparer,
        count: int,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Use up to ``count`` threads; they begin with the first parcels.

        ``on_end`` closes what the preparer has; it is called when they are to end.
        """
        self._preparer = preparer
        self._on_end = on_end
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="preparing")

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool, on_ready: OnReady
    ) -> None:
        """Have ``on_ready`` called on the running loop, with one outcome a parcel."""
        loop = asyncio.get_running_loop()
        refused = [_FAILED] * len(parcels)

        def made(future: "Future[list[Outcome]]") -> None:
            outcomes: Sequence[Outcome] = refused
            if not future.cancelled():
                error = future.exception()
                if error is None:
                    outcomes = future.result()
                else:
                    _log.error("preparing failed", exc_info=error)
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(on_ready, outcomes)

        try:
            future = self._threads.submit(
                make_ready, self._preparer, parcels, has_8bitmime=has_8bitmime
            )
        except RuntimeError:  # the threads have ended
            on_ready(refused)
        else:
            future.add_done_callback(made)

    def stop(self) -> None:
        """End the threads; call it when nothing is in flight any more."""
        # A batch takes milliseconds; nobody waits for what has not begun.
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._on_end()
