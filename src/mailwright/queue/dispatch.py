"""Lanes: the lines of one (site, pool) that may feed it now, and its connections.

A lane exists only while a line of it is due or a connection of it is open. Each
connection asks its feed for the next few deliveries; the feed takes them from the line
whose turn it is.
"""

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import Final, Protocol

from mailwright.ids import PoolId, SourceId
from mailwright.permit import Permit, PermitKeys, Stop
from mailwright.queue.claimed import Claimed
from mailwright.queue.lane import FairLines
from mailwright.queue.line import Line
from mailwright.queue.loading import Carried, Loader
from mailwright.queue.members import Members
from mailwright.queue.strays import Strays
from mailwright.queue.terms import Rest
from mailwright.queue.tools import Tools
from mailwright.queue.waiters import Waiters
from mailwright.reply import Reply
from mailwright.site import Site
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: A lane opens another connection when more than this waits for each it has.
BACKLOG_PER_CONNECTION: Final = 4

#: How soon a lane with connections asks again for one that it was refused.
NO_MORE_PAUSE: Final = timedelta(seconds=1)
#: How long a line rests after a fault of ours.
FAULT_REST: Final = timedelta(seconds=10)
_NO_PERMIT: Final = Permit(None, 0)


class LaneOwner(Protocol):
    """What a lane asks of the scheduler."""

    def connect(self, lane: "Lane") -> None:
        """Open a connection for ``lane`` if it may have one more."""
        ...

    def park(self, line: Line) -> None:
        """Take ``line`` back until it is due."""
        ...

    def let_rest(self, line: Line, rest: Rest) -> None:
        """Take ``line`` back: its campaign lets nothing of it leave."""
        ...

    def idle_s(self) -> float:
        """Return how long a connection without mail is kept, in seconds."""
        ...

    def must_yield(self) -> bool:
        """Whether another lane waits for a connection: do not sit idle on yours."""
        ...

    def idles(self, lane: "Lane", *, is_idle: bool) -> None:
        """Note whether a connection of ``lane`` carries nothing."""
        ...

    def is_stopping(self) -> bool:
        """Whether nothing new may be claimed."""
        ...


class Lane:
    """The active lines of one (site, pool)."""

    def __init__(
        self, site: Site, pool: PoolId, tools: Tools, owner: LaneOwner
    ) -> None:
        self.site = site
        self.pool = pool
        #: What connections are counted by.
        self.keys = PermitKeys(site.profile.provider, site.key, pool)
        self.lines = FairLines(tools.terms.priority)
        #: Connections that are open or being opened, by source.
        self.connections: Counter[SourceId] = Counter()
        #: Whether one is being opened: the next waits for it.
        self.is_connecting = False
        self.members = Members(site, pool, tools.terms)
        #: What was refused last to all of the lane; ``None`` once something may leave.
        self.refused: Permit | None = None
        #: One more connection was refused until then; asking sooner is of no use.
        self.no_more_until: datetime | None = None
        #: Whether it takes nothing more: the site of before has become another.
        self.is_retired = False
        self._refused_bulk = False
        self._halted = 0
        self._tools = tools
        self._owner = owner
        self._loader = Loader(tools, site.profile, self._rest)
        self._idle = Waiters()
        self._paused = Waiters()
        self._strays = Strays()

    @property
    def has_work(self) -> bool:
        """Whether a connection would find something to carry."""
        return len(self.lines) > 0 or bool(self._strays)

    def wants_connection(self) -> bool:
        """Whether one more connection would have enough to do."""
        carrying = self.connections.total() - self._halted
        if not carrying or self._strays:
            return self.has_work
        enough = BACKLOG_PER_CONNECTION * carrying
        waiting = 0
        for line in self.lines:
            waiting += line.available
            if waiting > enough:
                return True
        return False

    def is_refused(self, now: datetime) -> bool:
        """Whether nothing of it may leave yet."""
        refused = self.refused
        return refused is not None and refused.until is not None and refused.until > now

    def add(self, line: Line) -> None:
        """Let ``line`` take part and see that a connection carries it."""
        keys = self.members.keys_of(line)
        self.lines.add(line)
        if not keys.is_bulk and self._refused_bulk:
            # What was kept from bulk mail may be kept for this.
            self.reconsider()
        self.wake()

    def reconsider(self) -> None:
        """Ask again for what was refused."""
        self.refused, self._refused_bulk = None, False
        self.no_more_until = None
        while self._paused.rouse(carry_on=True):
            pass

    def retire(self) -> None:
        """Take nothing more; connections end when what they carry has ended."""
        self.is_retired = True
        self.release_strays()
        while self.close_idle():
            pass

    def withdraw(self, line: Line) -> None:
        """Let ``line`` take part no more; what was claimed of it and waits goes back."""
        self.lines.remove(line)
        for claimed in self._strays.take_line(line):
            self.release(claimed)

    def wake(self) -> None:
        """Rouse an idle connection, or ask for another one."""
        if not self._idle.rouse(carry_on=True):
            self._owner.connect(self)

    def close_idle(self) -> bool:
        """Let a connection end that carries nothing; return whether there was one."""
        return self._idle.rouse(carry_on=False) or self._paused.rouse(carry_on=False)

    def connect(self) -> Permit | None:
        """Return from which source a connection may be opened; it counts from then on.

        ``None``: nothing may leave now. Lines that have to wait rest; if it is all of
        the lane, :attr:`refused` says until when.
        """
        permits, profile = self._tools.permits, self.site.profile
        now = self._tools.clock.now()
        for source in self._strays.sources():
            line = self._strays.first_line(source)
            if line is None or self.connections[source]:
                continue  # it takes them
            keys = self.members.keys_of(line)
            permit = permits.connect(keys, profile, now, source)
            if permit.granted:
                return permit
            self._put_off(source, permit)
        while (line := self._next_line()) is not None:
            permit = permits.connect(self.members.keys_of(line), profile, now)
            if permit.granted:
                self.refused = None
                return permit
            if permit.stop is not Stop.LINE:
                if self.connections:
                    self.no_more_until = now + NO_MORE_PAUSE
                else:
                    self._note_refused(line, permit)
                return None
            self._rest_until(line, permit)
        return None

    async def take(self, source: SourceId, want: int) -> list[Carried]:
        """Return up to ``want`` deliveries that may leave from ``source``.

        Empty: none came within the idle time, or none may leave from it for longer.
        """
        while not (self._owner.is_stopping() or self.is_retired):
            claimed, permit = self._take_strays(source, want)
            if not claimed:
                line = self._next_line()
                if line is None:
                    if not await self._pause(self._idle, self._owner.idle_s()):
                        return []
                    continue
                room = self._tools.in_flight.room
                if not room:
                    self._make_room()
                    await self._tools.in_flight.wait_for_room()
                    continue
                asked = max(1, min(want, line.available, room))
                permit = self._permit(line, source, asked)
                if permit.granted <= 0:
                    if not await self._stopped_by(line, permit):
                        return []
                    continue
                self.refused = None
                claimed = await self._claim(line, permit, source)
            loaded = await self._loader.load(claimed, permit)
            if loaded:
                if self.has_work:
                    self.wake()
                return loaded
        return []

    async def defer(self, line: Line, reply: Reply, most: int) -> int:
        """Let ``reply`` end an attempt of up to ``most`` due deliveries of ``line``.

        Raises:
            StoreError: nothing was claimed.
        """
        claimed = await self._tools.claims.claim(line, most, None)
        await self._loader.refuse(claimed, reply)
        return len(claimed)

    def release_strays(self) -> None:
        """Put claimed deliveries back that wait for a source."""
        for source in self._strays.sources():
            for claimed in self._strays.take_all(source):
                self.release(claimed)

    def release(self, claimed: Claimed) -> None:
        """Put a claimed delivery back that was never offered."""
        self._tools.settlement.release(claimed)

    def _next_line(self) -> Line | None:
        """Return the line whose turn it is, of those that may leave by their terms."""
        now = self._tools.clock.now()
        while (line := self.lines.next_line()) is not None:
            rest = self._tools.terms.rests(line, now)
            if rest is None:
                return line
            self.lines.remove(line)
            self._owner.let_rest(line, rest)
        return None

    def _permit(self, line: Line, source: SourceId, want: int) -> Permit:
        return self._tools.permits.permit(
            self.members.keys_of(line),
            self.site.profile,
            self._tools.clock.now(),
            want,
            source,
        )

    async def _stopped_by(self, line: Line, permit: Permit) -> bool:
        """Wait as ``permit`` says; false: the connection had better be closed."""
        if permit.stop is Stop.LINE:
            self._rest_until(line, permit)
            return True
        self._note_refused(line, permit)
        now = self._tools.clock.now()
        wait_s = ((permit.until or now) - now).total_seconds()
        may_wait = 0 < wait_s <= self._owner.idle_s()
        if may_wait:
            self._halted += 1
            try:
                self._owner.connect(self)  # another source may have room
                await self._pause(self._paused, wait_s)
            finally:
                self._halted -= 1
        if permit.stop is Stop.SOURCE:
            self.refused = None  # says nothing of other sources
        return may_wait and not self._owner.must_yield()

    def _note_refused(self, line: Line, permit: Permit) -> None:
        self.refused = permit
        self._refused_bulk = self.members.keys_of(line).is_bulk

    def _rest_until(self, line: Line, permit: Permit) -> None:
        """Let a line rest that may not leave, while others of the lane may."""
        until = permit.until or self._tools.clock.now() + FAULT_REST
        line.rest(until, permit.reason, waits_for_limit=True)
        self.lines.remove(line)
        self._owner.park(line)

    def _take_strays(self, source: SourceId, want: int) -> tuple[list[Claimed], Permit]:
        """Return claimed deliveries of one line that are to leave from ``source``."""
        line = self._strays.first_line(source)
        if line is None:
            return [], _NO_PERMIT
        permit = self._permit(line, source, self._strays.in_a_row(source, want))
        if not permit.granted:
            self._put_off(source, permit)
            return [], _NO_PERMIT
        return self._strays.take(source, permit.granted), permit

    def _make_room(self) -> None:
        """Let strays be carried, or put them back: nobody may claim meanwhile."""
        if not self._strays:
            return
        self._owner.connect(self)
        until = self._tools.clock.now() + NO_MORE_PAUSE
        for source in self._strays.sources():
            if not self.connections[source]:
                self._put_back(source, until)

    def _put_off(self, source: SourceId, permit: Permit) -> None:
        """Put strays back until ``source`` may send them."""
        self._put_back(source, permit.until or self._tools.clock.now() + FAULT_REST)

    def _put_back(self, source: SourceId, until: datetime) -> None:
        for claimed in self._strays.take_all(source):
            self._tools.settlement.put_off(claimed, until)

    async def _pause(self, waiters: Waiters, most_s: float) -> bool:
        """Wait among ``waiters`` to be roused; false: the connection had better end."""
        if self._owner.must_yield():
            return False
        self._owner.idles(self, is_idle=True)
        try:
            return await waiters.wait(most_s)
        finally:
            if not self._idle and not self._paused:
                self._owner.idles(self, is_idle=False)

    async def _claim(
        self, line: Line, permit: Permit, source: SourceId
    ) -> list[Claimed]:
        asked = min(permit.granted, line.available)
        self.lines.charge(line, asked)
        if line.available <= asked:
            self.lines.remove(line)  # other connections need not ask it meanwhile
        try:
            claimed = await self._tools.claims.claim(line, asked, source)
        except StoreError as error:
            logger.warning("cannot claim: %s", error)
            self._tools.permits.give_back(permit, permit.granted)
            self._rest(line, "the store does not answer")
            return []
        if line.is_held:  # since it was asked for
            for each in claimed:
                self.release(each)
            self._tools.permits.give_back(permit, permit.granted)
            return []
        self._replace(line)
        mine = []
        for each in claimed:
            if each.source == source or not self._has_source(each.source):
                mine.append(each)
            elif self.is_retired:
                self.release(each)
            elif each.source is not None:
                self._strays.add(each.source, each)
        self._tools.permits.give_back(permit, permit.granted - len(mine))
        return mine

    def _replace(self, line: Line) -> None:
        """Put ``line`` where it belongs after a claim: active, or back until due."""
        now = self._tools.clock.now()
        if line.available <= 0 or line.is_held or line.key.pool != self.pool:
            self.lines.remove(line)
        elif line.ready_at() <= now and not self.is_retired:
            self.lines.add(line)
        else:
            self.lines.remove(line)
            self._owner.park(line)

    def _has_source(self, source: SourceId | None) -> bool:
        return source is not None and self._tools.permits.has_source(self.pool, source)

    def _rest(self, line: Line, reason: str) -> None:
        """Let ``line`` rest for a moment after a fault of ours."""
        line.rest(self._tools.clock.now() + FAULT_REST, reason)
        self.lines.remove(line)
        self._owner.park(line)
