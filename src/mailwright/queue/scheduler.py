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
from datetime import datetime
from itertools import islice
from typing import Final

from mailwright.accounts.directory import Directory
from mailwright.ids import DeliveryId, PoolId
from mailwright.permit import Permit
from mailwright.queue.bounds import SchedulerSettings, SchedulerState
from mailwright.queue.connections import STUCK_LOOK_S, Connections
from mailwright.queue.dispatch import Lane
from mailwright.queue.line import Line
from mailwright.queue.open_lanes import OpenLanes
from mailwright.queue.parked import Parked
from mailwright.queue.ports import Courier, Router
from mailwright.queue.resolving import Resolving
from mailwright.queue.terms import Rest
from mailwright.queue.timetable import Timetable
from mailwright.queue.tools import Tools
from mailwright.queue.unreachable import Unreachable
from mailwright.reply import Reply
from mailwright.site import Site
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: How often to look whether outcomes can be written again.
UNWRITTEN_PAUSE_S: Final = 1.0
#: Lines that are started or woken before others get their turn: a few milliseconds.
LINES_AT_ONCE: Final = 500


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
        stops: Callable[[Line, str | None], bool] = lambda _line, _provider: False,
        stops_everything: Callable[[], bool] = lambda: False,
    ) -> None:
        """``stops`` says of a line whether a hold does, by its provider if known.

        While ``stops_everything`` is true nothing is claimed; :meth:`wake` says that
        it is no more.
        """
        self._stops = stops
        self._stops_everything = stops_everything
        self._tools = tools
        self._settings = settings
        self._parked = Parked()
        self._lanes = OpenLanes(settings.lanes_max)
        self._recalled: Timetable[Lane] = Timetable()
        self._unreachable = Unreachable(
            tools, self, self._rested, lambda: self._settings.lanes_max
        )
        self._connections = Connections(
            tools=tools,
            courier=courier,
            directory=directory,
            limit=settings.connections,
            owner=self,
            unreachable=self._unreachable,
        )
        self._resolving = Resolving(router, tools.clock, self._resolved)
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopping = False

    def apply(self, settings: SchedulerSettings) -> None:
        """Take over new bounds; they act on what begins from now on."""
        self._settings = settings
        self._connections.bound(settings.connections)
        self._lanes.bound(settings.lanes_max)

    def idle_s(self) -> float:
        """Return how long a connection without mail is kept, in seconds."""
        return self._settings.idle_s

    @property
    def connections(self) -> int:
        """Connections that are open or being opened."""
        return self._connections.count

    def in_hand(self, concerns: Callable[[Line], bool]) -> set[DeliveryId]:
        """Return what sessions have of the lines that ``concerns`` names."""
        return self._connections.in_hand(concerns)

    def statistics(self) -> SchedulerState:
        """Return how much is going on."""
        return SchedulerState(
            len(self._parked),
            len(self._lanes),
            self._connections.count,
            len(self._resolving),
        )

    def on_due(self, line: Line) -> None:
        """Note that ``line`` got deliveries, or that one of its is due again."""
        lane = self._lanes.of(line)
        now = self._tools.clock.now()
        if lane is not None and not line.is_held and line.ready_at() <= now:
            lane.add(line)
        else:
            self.park(line)

    def park(self, line: Line) -> None:
        """Take ``line`` back until it is due."""
        if line.available <= 0 or line.is_held:
            return
        if self._parked.put(line):
            self._wake.set()

    def let_rest(self, line: Line, rest: Rest) -> None:
        """Take ``line`` back until ``rest`` is over; without an end, until :meth:`release`."""
        if rest.until is None:
            line.is_held = True
            return
        line.rest(rest.until, rest.reason, waits_for_limit=True)
        self.park(line)

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
        for lane in self._lanes:
            lane.reconsider()
            if lane in self._recalled:
                self._recalled.put(lane, now)
        self._wake.set()
        for number, line in enumerate(self._parked.take_limited(), 1):
            if line.waits_for_limit:
                self._wake_up(line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        try:
            await self._tools.settlement.recall()
        except StoreError as error:
            logger.warning("some mail keeps the time that it was put off to: %s", error)

    def _wake_up(self, line: Line) -> None:
        self._parked.rouse(line)
        self.park(line)

    def _withdraw(self, line: Line) -> None:
        lane = self._lanes.leave(line)
        if lane is None:
            return
        lane.withdraw(line)
        if not lane.has_work and not lane.connections:
            self.close(lane)

    def site_of(self, line: Line) -> Site | None:
        """Return where mail of ``line`` goes, if that is known without asking."""
        lane = self._lanes.of(line)
        if lane is not None:
            return lane.site
        return self._resolving.known(line)

    def remember(self, domain: str, site: Site) -> None:
        """Take over where mail of ``domain`` goes, from whoever asked the router."""
        self._resolving.remember(domain, site)

    def forget_sites(self) -> None:
        """Ask the router anew for every line that starts from now on.

        Lanes of before take nothing more; whoever calls restarts every line.
        """
        self._resolving.forget()
        for lane in self._lanes:
            self._forget(lane)
            lane.retire()

    def lanes(self) -> list[Lane]:
        """Return the lanes there are, for people."""
        return list(self._lanes)

    def failures(self, lane: Lane) -> int:
        """Return how often in a row the host of ``lane`` could not be reached."""
        return self._unreachable.failures(lane)

    def rest_of(self, line: Line) -> Rest | None:
        """Return why the campaign of ``line`` lets nothing of it leave, if it does not."""
        return self._tools.terms.rests(line, self._tools.clock.now())

    def why_waiting(self, line: Line) -> Permit | None:
        """Return what was refused to all of the lane that ``line`` is in, if it was."""
        lane = self._lanes.of(line)
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

    def wake(self) -> None:
        """Look anew what is to be done, and when: all mail was stopped, for one."""
        self._wake.set()

    def connect(self, lane: Lane) -> None:
        """Open a connection for ``lane`` if it may have one more."""
        self._connections.connect(lane)

    def idles(self, lane: Lane, *, is_idle: bool) -> None:
        """Note whether a connection of ``lane`` carries nothing."""
        self._connections.idles(lane, is_idle=is_idle)

    def must_yield(self) -> bool:
        """Whether another lane waits for a connection that may have yours."""
        return self._connections.is_short

    def stop(self) -> None:
        """Claim nothing more; :meth:`run` returns when what is in flight has ended."""
        self._stopping = True
        self._wake.set()
        for lane in self._lanes:
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
            self._connections.tasks = self._resolving.tasks = tasks
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

    def let_wait(self, lane: Lane) -> None:
        """See that a lane which may not connect is asked again, or goes away."""
        if lane.connections:
            return  # these ask by themselves
        until = lane.refused.until if lane.refused is not None else None
        if not lane.has_work or until is None:
            self.close(lane)
        elif self._recalled.put(lane, until):
            self._wake.set()

    def _start_due(self) -> float | None:
        """Start whatever is due; return the seconds until something will be."""
        if self.is_stopping():
            return UNWRITTEN_PAUSE_S
        now = self._tools.clock.now()
        self._connections.count_stuck()
        self._connections.hand_out()
        for lane in list(islice(self._recalled.take_due(now), LINES_AT_ONCE)):
            if lane.has_work or lane.connections:
                self.connect(lane)
            else:
                self.close(lane)
        self._start_lines(now)
        look_s = STUCK_LOOK_S if self._connections.is_used_up else None
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
        rest = self._tools.terms.rests(line, self._tools.clock.now())
        if rest is not None:
            self.let_rest(line, rest)
            return
        self._parked.rouse(line)
        site = self._resolving.known(line)
        if site is not None:
            self._join(line, site)
        else:
            self._resolving.add(line)

    async def _resolved(self, line: Line, answer: Site | Reply) -> None:
        if line.is_held:
            return
        if self.is_stopping():
            self.park(line)
        elif isinstance(answer, Reply):
            await self._unreachable.domain_failed(line, answer, self._settings.retry)
        else:
            self._join(line, answer)

    def _join(self, line: Line, site: Site) -> None:
        if self._stops(line, site.profile.provider):
            line.is_held = True
            return
        lane = self._lanes.join(line, site, self._open)
        if lane is None:
            until = self._lanes.crowded_until(self._tools.clock.now())
            line.rest(until, "too many lanes")
            self.park(line)
            return
        lane.add(line)

    def _open(self, site: Site, pool: PoolId) -> Lane:
        return Lane(site, pool, self._tools, self)

    def connection_over(self, lane: Lane) -> None:
        """Note that a connection of ``lane`` is over, however it ended."""
        if lane.has_work:
            self.connect(lane)
        if not lane.connections and lane not in self._recalled:
            self.close(lane)

    def _rested(self, line: Line) -> None:
        self._lanes.leave(line)
        self.park(line)

    def close(self, lane: Lane) -> None:
        """Forget a lane without connections; lines that still wait start anew."""
        if self._stopping or lane not in self._lanes:
            return
        self._forget(lane)
        lane.release_strays()
        for line in self._lanes.leave_all(lane):
            self.park(line)
        waiting = self._lanes.next_waiter()
        if waiting is not None:
            self.restart(waiting)

    def _forget(self, lane: Lane) -> None:
        self._lanes.forget(lane)
        self._recalled.drop(lane)
        self._connections.forget(lane)
