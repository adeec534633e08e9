"""The node's connections: who may open one, and what becomes of a lane when one is over.

Bounded in number and shared between providers (:mod:`mailwright.queue.slots`); each is a
task, and what it carries comes from its lane's feed.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from mailwright.accounts.directory import Directory
from mailwright.ids import DeliveryId, SourceId
from mailwright.queue.dispatch import Lane
from mailwright.queue.feed import LaneFeed
from mailwright.queue.line import Line
from mailwright.queue.ports import Courier
from mailwright.queue.slots import Slots
from mailwright.queue.tools import Tools
from mailwright.queue.unreachable import Unreachable
from mailwright.reply import Phase, Reply, local_reply

logger = logging.getLogger(__name__)

_FAULT: Final = local_reply(451, "4.3.0", "internal fault", Phase.CONNECT)
#: A connection whose receiver says nothing for so long is not counted for others.
STUCK_S: Final = 10.0
#: How often to look for such connections while there are as many as may be.
STUCK_LOOK_S: Final = 1.0


class Owner(Protocol):
    """What connections ask of the scheduler."""

    def is_stopping(self) -> bool:
        """Whether nothing new may be claimed."""
        ...

    def wake(self) -> None:
        """Look anew what is to be done, and when."""
        ...

    def let_wait(self, lane: Lane) -> None:
        """See that a lane which may not connect is asked again, or goes away."""
        ...

    def close(self, lane: Lane) -> None:
        """Forget a lane without connections."""
        ...

    def connection_over(self, lane: Lane) -> None:
        """Note that a connection of ``lane`` is over, however it ended."""
        ...


class Connections:
    """Opens connections for lanes and runs them.

    Attributes:
        tasks: owns their tasks; ``None``: none may be opened.
    """

    def __init__(
        self,
        *,
        tools: Tools,
        courier: Courier,
        directory: Callable[[], Directory],
        limit: int,
        owner: Owner,
        unreachable: Unreachable,
    ) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        self._tools = tools
        self._courier = courier
        self._directory = directory
        self._owner = owner
        self._unreachable = unreachable
        #: Lanes with a connection that carries nothing.
        self._idle: dict[Lane, None] = {}
        self._slots: Slots[Lane] = Slots(limit)
        self._feeds: set[LaneFeed] = set()

    @property
    def count(self) -> int:
        """Connections that are open or being opened."""
        return self._slots.taken

    @property
    def is_short(self) -> bool:
        """Whether a lane waits for a connection that another may give."""
        return self._slots.is_short

    @property
    def is_used_up(self) -> bool:
        """Whether there are as many as may be; what is stuck matters then."""
        return self._slots.is_used_up

    def in_hand(self, concerns: Callable[[Line], bool]) -> set[DeliveryId]:
        """Return what sessions have of the lines that ``concerns`` names."""
        found: set[DeliveryId] = set()
        return found.union(*(feed.in_hand(concerns) for feed in self._feeds))

    def bound(self, limit: int) -> None:
        """Take over how many there may be; it acts on what is opened from now on."""
        self._slots.limit = limit

    def forget(self, lane: Lane) -> None:
        """Let ``lane`` wait for none."""
        self._slots.forget(lane.site.profile.provider, lane)

    def idles(self, lane: Lane, *, is_idle: bool) -> None:
        """Note whether a connection of ``lane`` carries nothing."""
        if is_idle:
            self._idle[lane] = None
        else:
            self._idle.pop(lane, None)

    def connect(self, lane: Lane) -> None:
        """Open a connection for ``lane`` if it may have one more."""
        if self.tasks is None or lane.is_connecting or not lane.wants_connection():
            return
        if lane.is_retired:
            return
        if self._owner.is_stopping():
            if not lane.connections:
                self._owner.close(lane)  # or nobody would look at its lines afterwards
            return
        now = self._tools.clock.now()
        if lane.no_more_until is not None and now < lane.no_more_until:
            return
        if not lane.connections and lane.is_refused(now):
            self._owner.let_wait(lane)
            return
        provider = lane.site.profile.provider
        if not self._slots.try_take(provider):
            self._wait_for_slot(lane)
            return
        permit = lane.connect()
        if permit is None or permit.source is None:
            self._slots.free(provider)
            self._owner.let_wait(lane)
            return
        lane.connections[permit.source] += 1
        lane.is_connecting = True
        if self._slots.is_used_up:
            self._owner.wake()  # from now on it matters which are stuck
        self.tasks.create_task(
            self._connection(lane, permit.source), name=f"site {lane.site.key}"
        )

    def _wait_for_slot(self, lane: Lane) -> None:
        """Let ``lane`` have a connection that another one leaves."""
        if lane.connections:
            return  # one connection for everyone comes before a second for anyone
        provider = lane.site.profile.provider
        self._slots.wait(provider, lane)
        is_full = self._slots.is_full
        for other in self._idle:
            is_of_use = is_full or other.site.profile.provider == provider
            if is_of_use and other.close_idle():
                return

    def hand_out(self) -> None:
        """Let who waits have the connections that are free."""
        while not self._owner.is_stopping():
            lane = self._slots.next_waiter()
            if lane is None:
                return
            self.connect(lane)

    def count_stuck(self) -> None:
        """Count connections whose receivers let us wait, if that matters."""
        if self._slots.is_used_up:
            now_s = self._tools.clock.steady()
            waits = (feed.waits_for_s(now_s) for feed in self._feeds)
            self._slots.stuck = sum(wait_s >= STUCK_S for wait_s in waits)

    async def _connection(self, lane: Lane, source: SourceId) -> None:
        reply: Reply | None = _FAULT
        feed = LaneFeed(lane, source, self._tools)
        self._feeds.add(feed)
        try:
            reply = await self._courier.carry(
                lane.site, self._directory().sources[source], feed
            )
            if reply is not None and not feed.was_used:
                feed.ended_in_vain(reply)
        except Exception:  # the outermost frame of a connection
            logger.exception("a delivery session failed")
        finally:
            self._feeds.discard(feed)
            feed.abandon()
            profile = lane.site.profile
            is_vain = reply is not None and not feed.was_used
            self._tools.permits.disconnected(
                lane.keys, profile, source, has_failed=is_vain or not feed.was_asked
            )
            self._slots.free(profile.provider)
            lane.connections[source] -= 1
            if not lane.connections[source]:
                del lane.connections[source]
            lane.no_more_until = None
            if not feed.was_asked:
                lane.is_connecting = False
        if is_vain and reply is not None:
            if not lane.connections:  # else these may do better
                await self._unreachable.host_failed(lane, reply)
        elif feed.was_asked:
            self._unreachable.reached(lane)
        self.hand_out()
        self._owner.connection_over(lane)
