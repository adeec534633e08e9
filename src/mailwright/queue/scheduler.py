"""The scheduler: lines that become due find their site and feed its lane.

One task waits for the next due line; connections and look-ups are tasks of their own,
bounded in number. Nothing here is per message.

A line that is due is looked up (its domain's site), joins the lane of (site, pool), and
leaves it when nothing of it is due any more. A lane whose host cannot be reached rests:
a few deliveries of each line carry the reply, the others keep their due time.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from mailwright.accounts.directory import Directory
from mailwright.ids import LineId, PoolId, SourceId
from mailwright.permit import Permit
from mailwright.queue.crowd import Crowd
from mailwright.queue.dispatch import Lane
from mailwright.queue.feed import LaneFeed
from mailwright.queue.line import Line
from mailwright.queue.lookups import Lookups
from mailwright.queue.ports import Courier, Router
from mailwright.queue.slots import Slots
from mailwright.queue.timetable import Timetable
from mailwright.queue.tools import Tools
from mailwright.queue.unreachable import Unreachable
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Site
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

_FAULT: Final = local_reply(451, "4.3.0", "internal fault", Phase.CONNECT)
#: How often to look whether outcomes can be written again.
UNWRITTEN_PAUSE_S: Final = 1.0
#: Lines that are started or woken before others get their turn: a few milliseconds.
LINES_AT_ONCE: Final = 500
#: When a line that found no room for a lane looks for it by itself.
CROWDED_REST: Final = timedelta(minutes=1)
#: A connection whose receiver says nothing for so long is not counted for others.
STUCK_S: Final = 10.0
#: How often to look for such connections while there are as many as may be.
STUCK_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Bounds of the scheduler.

    Attributes:
        connections: open at once, for all lanes.
        lanes_max: lanes at once.
        retry: ladder for domains without a site, seconds.
        idle_s: how long a connection without mail is kept open.
    """

    connections: int
    lanes_max: int
    retry: tuple[float, ...]
    idle_s: float


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """A snapshot for people."""

    lines_due: int
    lanes: int
    connections: int
    lookups: int


def _never(_line: Line, _provider: str | None) -> bool:
    return False


def _nothing() -> bool:
    return False


class Scheduler:
    """Runs lines, lanes and connections until it is stopped."""

    def __init__(
        self,
        *,
        tools: Tools,
        router: Router,
        courier: Courier,
        directory: Callable[[], Directory],
        settings: SchedulerSettings,
        stops: Callable[[Line, str | None], bool] = _never,
        stops_everything: Callable[[], bool] = _nothing,
    ) -> None:
        """``stops`` says of a line whether a hold does, by its provider if known.

        While ``stops_everything`` is true nothing is claimed; :meth:`resume` says that
        it is no more.
        """
        self._stops = stops
        self._stops_everything = stops_everything
        self._tools = tools
        self._router = router
        self._courier = courier
        self._directory = directory
        self._settings = settings
        self._parked: Timetable[Line] = Timetable()
        self._lanes: dict[tuple[str, PoolId], Lane] = {}
        self._lane_of: dict[LineId, Lane] = {}
        self._crowd: Crowd[Line] = Crowd(settings.lanes_max)
        #: Lanes with a connection that carries nothing.
        self._idle: dict[Lane, None] = {}
        self._slots: Slots[Lane] = Slots(settings.connections)
        self._feeds: set[LaneFeed] = set()
        self._recalled: Timetable[Lane] = Timetable()
        #: Lines that rest because of a limit.
        self._limited: set[Line] = set()
        self._unreachable = Unreachable(
            tools, self, self._rested, lambda: self._settings.lanes_max
        )
        self._lookups = Lookups()
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopping = False
        self._tasks: asyncio.TaskGroup | None = None

    def apply(self, settings: SchedulerSettings) -> None:
        """Take over new bounds; they act on what begins from now on."""
        self._settings = settings
        self._slots.limit = settings.connections
        self._crowd.limit = settings.lanes_max

    def idle_s(self) -> float:
        """Return how long a connection without mail is kept, in seconds."""
        return self._settings.idle_s

    @property
    def connections(self) -> int:
        """Connections that are open or being opened."""
        return self._slots.taken

    def statistics(self) -> SchedulerState:
        """Return how much is going on."""
        return SchedulerState(
            len(self._parked), len(self._lanes), self._slots.taken, len(self._lookups)
        )

    def on_due(self, line: Line) -> None:
        """Note that ``line`` got deliveries, or that one of its is due again."""
        lane = self._lane_of.get(line.id)
        now = self._tools.clock.now()
        if lane is not None and not line.is_held and line.ready_at() <= now:
            lane.add(line)
        else:
            self.park(line)

    def park(self, line: Line) -> None:
        """Take ``line`` back until it is due."""
        if line.available <= 0 or line.is_held:
            return
        if line.waits_for_limit:
            self._limited.add(line)
        if self._parked.put_earlier(line, line.ready_at()):
            self._wake.set()

    def hold(self, line: Line) -> None:
        """Feed nothing more of ``line`` until :meth:`release`; what is out goes on."""
        line.is_held = True
        self._withdraw(line)

    def release(self, line: Line) -> None:
        """End the hold of ``line``; what it rested for is looked at anew."""
        line.is_held = False
        self.restart(line)

    def restart(self, line: Line) -> None:
        """Let ``line`` begin anew: it is due earlier, or is in another pool."""
        self._withdraw(line)
        self._wake_up(line)

    async def reconsider(self) -> None:
        """Ask again at once wherever a limit refused: limits changed, or the clock did.

        What rests for another reason goes on resting. Yields to others on the way.
        """
        now = self._tools.clock.now()
        for lane in list(self._lanes.values()):
            lane.reconsider()
            if lane in self._recalled:
                self._recalled.put(lane, now)
        self._wake.set()
        limited, self._limited = list(self._limited), set()
        for number, line in enumerate(limited, 1):
            if line.waits_for_limit:
                self._wake_up(line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        try:
            await self._tools.settlement.recall()
        except StoreError as error:
            logger.warning("some mail keeps the time that it was put off to: %s", error)

    def _wake_up(self, line: Line) -> None:
        line.wake()
        self._limited.discard(line)
        # Its rest or its due time has moved: the entry of before is of no use.
        self._parked.drop(line)
        self.park(line)

    def _withdraw(self, line: Line) -> None:
        lane = self._lane_of.pop(line.id, None)
        if lane is None:
            return
        lane.withdraw(line)
        if not lane.has_work and not lane.connections:
            self._close(lane)

    def site_of(self, line: Line) -> Site | None:
        """Return where mail of ``line`` goes, if that is known without asking."""
        lane = self._lane_of.get(line.id)
        if lane is not None:
            return lane.site
        return self._lookups.known(line.key.domain, self._tools.clock.steady())

    def remember(self, domain: str, site: Site) -> None:
        """Take over where mail of ``domain`` goes, from whoever asked the router."""
        self._lookups.remember(domain, site)

    def forget_sites(self) -> None:
        """Ask the router anew for every line that starts from now on.

        Lanes of before take nothing more; whoever calls restarts every line.
        """
        self._router.forget()
        self._lookups.forget()
        for lane in list(self._lanes.values()):
            self._forget(lane)
            lane.retire()

    def lanes(self) -> list[Lane]:
        """Return the lanes there are, for people."""
        return list(self._lanes.values())

    def failures(self, lane: Lane) -> int:
        """Return how often in a row the host of ``lane`` could not be reached."""
        return self._unreachable.failures(lane)

    def why_waiting(self, line: Line) -> Permit | None:
        """Return what was refused to all of the lane that ``line`` is in, if it was."""
        lane = self._lane_of.get(line.id)
        if lane is None or not lane.is_refused(self._tools.clock.now()):
            return None
        return lane.refused

    def is_stopping(self) -> bool:
        """Whether nothing new may be claimed."""
        return (
            self._stopping
            or self._tools.settlement.is_short
            or self._stops_everything()
        )

    def is_all_held(self) -> bool:
        """Whether a stop of all mail is in force."""
        return self._stops_everything()

    def resume(self) -> None:
        """Begin again what is due: all mail was stopped and is not any more."""
        self._wake.set()

    def must_yield(self) -> bool:
        """Whether another lane waits for a connection that may have yours."""
        return self._slots.is_short

    def idles(self, lane: Lane, *, is_idle: bool) -> None:
        """Note whether a connection of ``lane`` carries nothing."""
        if is_idle:
            self._idle[lane] = None
        else:
            self._idle.pop(lane, None)

    def stop(self) -> None:
        """Claim nothing more; :meth:`run` returns when what is in flight has ended."""
        self._stopping = True
        self._wake.set()
        for lane in list(self._lanes.values()):
            while lane.close_idle():
                pass

    async def wait_stopped(self) -> None:
        """Return when :meth:`run` has returned after :meth:`stop`."""
        await self._stopped.wait()

    async def run(self) -> None:
        """Run until :meth:`stop`. Returns when every connection is closed."""
        try:
            await self._run()
        finally:
            self._stopped.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._start_what_is_due()
            finally:
                # Cancelled, the group takes no new task while its others end.
                self._stopping = True

    async def _start_what_is_due(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause = self._start_due()
            if pause == 0:
                await asyncio.sleep(0)  # there is more to start, and others to serve
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def connect(self, lane: Lane) -> None:
        """Open a connection for ``lane`` if it may have one more."""
        if self._tasks is None or lane.is_connecting or not lane.wants_connection():
            return
        if lane.is_retired:
            return
        if self.is_stopping():
            if not lane.connections:
                self._close(lane)  # or nobody would look at its lines afterwards
            return
        now = self._tools.clock.now()
        if lane.no_more_until is not None and now < lane.no_more_until:
            return
        if not lane.connections and lane.is_refused(now):
            self._let_wait(lane)
            return
        provider = lane.site.profile.provider
        if not self._slots.try_take(provider):
            self._wait_for_slot(lane)
            return
        permit = lane.connect()
        if permit is None or permit.source is None:
            self._slots.free(provider)
            self._let_wait(lane)
            return
        lane.connections[permit.source] += 1
        lane.is_connecting = True
        if self._slots.is_used_up:
            self._wake.set()  # from now on it matters which are stuck
        self._tasks.create_task(
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

    def _let_wait(self, lane: Lane) -> None:
        """See that a lane which may not connect is asked again, or goes away."""
        if lane.connections:
            return  # these ask by themselves
        until = lane.refused.until if lane.refused is not None else None
        if not lane.has_work or until is None:
            self._close(lane)
        elif self._recalled.put(lane, until):
            self._wake.set()

    def _hand_out_slots(self) -> None:
        while not self.is_stopping():
            lane = self._slots.next_waiter()
            if lane is None:
                return
            self.connect(lane)

    def _count_stuck(self) -> None:
        """Count connections whose receivers let us wait, if that matters."""
        if self._slots.is_used_up:
            now_s = self._tools.clock.steady()
            waits = (feed.waits_for_s(now_s) for feed in self._feeds)
            self._slots.stuck = sum(wait_s >= STUCK_S for wait_s in waits)

    def _start_due(self) -> float | None:
        """Start whatever is due; return the seconds until something will be."""
        if self.is_stopping():
            return UNWRITTEN_PAUSE_S
        now = self._tools.clock.now()
        self._count_stuck()
        self._hand_out_slots()
        for lane in list(islice(self._recalled.take_due(now), LINES_AT_ONCE)):
            if lane.has_work or lane.connections:
                self.connect(lane)
            else:
                self._close(lane)
        self._start_lines(now)
        look_s = STUCK_LOOK_S if self._slots.is_used_up else None
        waits = [self._recalled.wait_s(now), self._parked.wait_s(now), look_s]
        return min((each for each in waits if each is not None), default=None)

    def _start_lines(self, now: datetime) -> None:
        # What is parked again meanwhile waits for the next look.
        for line in list(islice(self._parked.take_due(now), LINES_AT_ONCE)):
            if line.ready_at() > now:
                self.park(line)
            elif line.available > 0 and not line.is_held:
                self._start(line)

    def _start(self, line: Line) -> None:
        if self._stops(line, None):
            line.is_held = True
            return
        line.wake()
        self._limited.discard(line)
        site = self._lookups.known(line.key.domain, self._tools.clock.steady())
        if site is not None:
            self._join(line, site)
        elif self._lookups.add(line) and self._tasks is not None:
            self._tasks.create_task(self._look_up(), name="look-up")

    async def _look_up(self) -> None:
        """Look domains up, one after the other, until none waits."""
        while (domain := self._lookups.next_domain()) is not None:
            try:
                answer = await self._router.site_of(domain)
            except Exception:  # the outermost loop of a worker
                logger.exception("look-up failed")
                answer = _FAULT
            for line in self._lookups.end(domain, answer):
                if line.is_held:
                    continue
                if self.is_stopping():
                    self.park(line)
                elif isinstance(answer, Reply):
                    await self._unreachable.domain_failed(
                        line, answer, self._settings.retry
                    )
                else:
                    self._join(line, answer)
            # Answers that are known already must not keep the loop from others.
            await asyncio.sleep(0)

    def _join(self, line: Line, site: Site) -> None:
        if self._stops(line, site.profile.provider):
            line.is_held = True
            return
        key = (site.key, line.key.pool)
        lane = self._lanes.get(key)
        if lane is None:
            provider = site.profile.provider
            if not self._crowd.has_room(provider):
                line.rest(self._tools.clock.now() + CROWDED_REST, "too many lanes")
                self._crowd.wait(provider, line)
                self.park(line)
                return
            self._crowd.opened(provider)
            lane = self._lanes[key] = Lane(site, line.key.pool, self._tools, self)
        self._lane_of[line.id] = lane
        lane.add(line)

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
            await self._connected_in_vain(lane, reply)
        elif feed.was_asked:
            self._unreachable.reached(lane)
        self._after_connection(lane)

    async def _connected_in_vain(self, lane: Lane, reply: Reply) -> None:
        if not lane.connections:  # else these may do better
            await self._unreachable.host_failed(lane, reply)

    def _after_connection(self, lane: Lane) -> None:
        self._hand_out_slots()
        if lane.has_work:
            self.connect(lane)
        if not lane.connections and lane not in self._recalled:
            self._close(lane)

    def _rested(self, line: Line) -> None:
        self._lane_of.pop(line.id, None)
        self.park(line)

    def _close(self, lane: Lane) -> None:
        """Forget a lane without connections; lines that still wait start anew."""
        key = (lane.site.key, lane.pool)
        if self._stopping or self._lanes.get(key) is not lane:
            return
        self._forget(lane)
        lane.release_strays()
        for line in lane.members:
            if self._lane_of.get(line.id) is lane:
                del self._lane_of[line.id]
            self.park(line)
        while (waiting := self._crowd.next_waiter()) is not None:
            if waiting.available > 0 and waiting.id not in self._lane_of:
                self.restart(waiting)
                return

    def _forget(self, lane: Lane) -> None:
        del self._lanes[lane.site.key, lane.pool]
        self._recalled.drop(lane)
        self._crowd.closed(lane.site.profile.provider)
        self._slots.forget(lane.site.profile.provider, lane)
