"""A process that leads sessions. It ends with the socket to its node.

It is started by :mod:`mailwright.mta.sessions.pool` and by nobody else.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple

import uvloop

from mailwright.attempt import Parcel
from mailwright.clock import SystemClock
from mailwright.large_blocks import give_back_large_blocks
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.sessions.host import Host, OrderKeys
from mailwright.mta.sessions.local import LocalSessions
from mailwright.mta.sessions.ready import OnReady, Outcome, make_ready
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.tls import load_contexts

#: Messages above this are prepared in a thread: they take tens of milliseconds.
LARGE_OCTETS: Final = 262_144
#: Messages that are prepared beside at once.
TOGETHER: Final = 16


class OwnWorkers:
    """Implements :class:`~mailwright.mta.sessions.ready.Workers`: prepares at once.

    A batch takes some milliseconds, which a session can wait. What may take longer is
    done beside: large messages, and what is rendered, so that a template which takes
    long, as far as it may, keeps other campaigns waiting and no other mail. Templates
    run one process further on, where no key is.

    What waits to be done beside goes there together, whichever sessions it is of: a hop
    to a thread and on to a process costs more than a message.
    """

    def __init__(self, preparer: Preparer, beside: ThreadWorkers) -> None:
        self._preparer = preparer
        self._beside = beside
        self._waiting: deque[_Batch] = deque()
        self._is_busy = False

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool, on_ready: OnReady
    ) -> None:
        """Call ``on_ready`` with one outcome for each parcel, now or later."""
        if any(map(_takes_long, parcels)):
            self._waiting.append(_Batch(parcels, has_8bitmime, on_ready))
            self._go_on()
        else:
            on_ready(make_ready(self._preparer, parcels, has_8bitmime=has_8bitmime))

    def _go_on(self) -> None:
        """Let the thread do what waits, if it does nothing."""
        if self._is_busy or not self._waiting:
            return
        self._is_busy = True
        taken = [self._waiting.popleft()]
        parcels = list(taken[0].parcels)
        while self._waiting and self._fits(parcels, taken[0]):
            taken.append(self._waiting.popleft())
            parcels += taken[-1].parcels
        self._beside.prepare(
            parcels,
            has_8bitmime=taken[0].has_8bitmime,
            on_ready=partial(self._on_ready, taken),
        )

    def _fits(self, parcels: Sequence[Parcel], first: "_Batch") -> bool:
        """Whether the next batch goes with ``parcels``: not too much at once."""
        following = self._waiting[0]
        return (
            following.has_8bitmime == first.has_8bitmime
            and len(parcels) + len(following.parcels) <= TOGETHER
            and not any(map(_is_large, (*parcels, *following.parcels)))
        )

    def _on_ready(self, taken: Sequence["_Batch"], outcomes: Sequence[Outcome]) -> None:
        self._is_busy = False
        self._go_on()
        at = 0
        for batch in taken:
            begin, at = at, at + len(batch.parcels)
            batch.on_ready(outcomes[begin:at])


class _Batch(NamedTuple):
    """What waits to be prepared beside."""

    parcels: Sequence[Parcel]
    has_8bitmime: bool
    on_ready: OnReady


def _is_large(parcel: Parcel) -> bool:
    # A campaign's content is there once, however large.
    return parcel.merge is None and len(parcel.body) > LARGE_OCTETS


def _takes_long(parcel: Parcel) -> bool:
    return parcel.merge is not None or _is_large(parcel)


async def host(node: socket.socket) -> None:
    """Lead sessions for the node at the other end of ``node``, until that is closed."""
    order_keys = OrderKeys()
    with closing(Renderers(1)) as renderers:
        preparer = Preparer(order_keys, renderers)
        beside = ThreadWorkers(preparer, 1)
        workers = OwnWorkers(preparer, beside)
        sessions = LocalSessions(workers, load_contexts(), SystemClock())
        async with asyncio.TaskGroup() as tasks:
            loop = asyncio.get_running_loop()
            _, served = await loop.create_unix_connection(
                lambda: Host(sessions, order_keys, tasks), sock=node
            )
            await served.lost
            if served.is_leading:
                # The node died. What is in flight is tried again by the next one: what
                # went on here would be there twice.
                os._exit(0)
            beside.stop()


def main(descriptor: int) -> None:
    """Serve the node behind the socket ``descriptor``."""
    # The node is told to stop, and it lets what is in flight finish: that needs us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    give_back_large_blocks()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    with socket.socket(fileno=descriptor) as node:
        uvloop.run(host(node))


if __name__ == "__main__":
    main(int(sys.argv[1]))
