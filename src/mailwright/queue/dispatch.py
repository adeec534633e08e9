"""Lanes: the lines of one (site, pool) that may feed it now, and its connections.

A lane exists only while a line of it is due or a connection of it is open. Each
connection asks its feed for the next few deliveries; the feed takes them from the line
whose turn it is.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import Clock
from mailwright.ids import PoolId, SourceId
from mailwright.permit import PermitKeys
from mailwright.queue.claims import Claims
from mailwright.queue.content import Content, Contents
from mailwright.queue.lane import FairLines
from mailwright.queue.line import Line
from mailwright.queue.ports import Budget, Permits
from mailwright.queue.settle import Claimed, empty_parcel
from mailwright.queue.settlement import UNSIGNABLE_REST, Settlement
from mailwright.queue.tally import Tally
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Site
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: A lane opens another connection when more than this waits for each it has.
BACKLOG_PER_CONNECTION: Final = 4

#: How long a line rests after a fault of ours.
FAULT_REST: Final = timedelta(seconds=10)
#: How long the first message of a batch waits for room in memory.
MEMORY_WAIT_S: Final = 300.0

_CONTENT_GONE: Final = local_reply(554, "5.3.0", "the content is gone", Phase.DATA)
_ABANDONED: Final = local_reply(451, "4.3.0", "session ended by a fault", Phase.DOT)


class LaneOwner(Protocol):
    """What a lane asks of the scheduler."""

    def connect(self, lane: "Lane") -> None:
        """Open a connection for ``lane`` if it may have one more."""
        ...

    def park(self, line: Line) -> None:
        """Take ``line`` back until it is due."""
        ...

    def idle_s(self) -> float:
        """Return how long a connection without mail is kept, in seconds."""
        ...

    def must_yield(self) -> bool:
        """Whether another lane waits for a connection: do not sit idle on yours."""
        ...

    def is_stopping(self) -> bool:
        """Whether nothing new may be claimed."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What every lane works with."""

    clock: Clock
    claims: Claims
    contents: Contents
    settlement: Settlement
    permits: Permits
    budget: Budget
    tally: Tally = field(default_factory=Tally)


class Lane:
    """The active lines of one (site, pool)."""

    def __init__(
        self, site: Site, pool: PoolId, tools: Tools, owner: LaneOwner
    ) -> None:
        self.site = site
        self.pool = pool
        self.lines = FairLines()
        #: Connections that are open or being opened.
        self.connections = 0
        #: Whether one is being opened: the next waits for it.
        self.is_connecting = False
        #: Every line that came by; they know their way back while the lane lives.
        self.members: set[Line] = set()
        self._tools = tools
        self._owner = owner
        self._idle: deque[asyncio.Future[bool]] = deque()
        #: Claimed deliveries whose first attempt was from another source.
        self._strays: dict[SourceId, deque[Claimed]] = {}

    @property
    def has_work(self) -> bool:
        """Whether a connection would find something to carry."""
        return len(self.lines) > 0 or bool(self._strays)

    def wants_connection(self) -> bool:
        """Whether one more connection would have enough to do."""
        if not self.connections or self._strays:
            return self.has_work
        enough = BACKLOG_PER_CONNECTION * self.connections
        waiting = 0
        for line in self.lines:
            waiting += line.available
            if waiting > enough:
                return True
        return False

    @property
    def keys(self) -> PermitKeys:
        """What permits are asked for."""
        return PermitKeys(self.site.profile.provider, self.site.key, self.pool)

    @property
    def wanted_source(self) -> SourceId | None:
        """The source that claimed deliveries wait for, if any."""
        return next(iter(self._strays), None)

    def add(self, line: Line) -> None:
        """Let ``line`` take part and see that a connection carries it."""
        self.members.add(line)
        self.lines.add(line)
        self.wake()

    def wake(self) -> None:
        """Rouse an idle connection, or ask for another one."""
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(True)
                return
        self._owner.connect(self)

    def close_idle(self) -> bool:
        """Let an idle connection end; return whether there was one."""
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(False)
                return True
        return False

    async def take(self, source: SourceId, want: int) -> list[tuple[Claimed, Content]]:
        """Return up to ``want`` claimed deliveries with their contents.

        Empty: none came within the idle time, or none may leave from ``source`` now.
        """
        while not self._owner.is_stopping():
            claimed = self._take_strays(source, want)
            if not claimed:
                line = self.lines.next_line()
                if line is None:
                    if not await self._wait_for_work():
                        return []
                    continue
                permit = self._tools.permits.permit(
                    self.keys, self._tools.clock.now(), want, source
                )
                if permit.source != source or permit.granted <= 0:
                    return []
                claimed = await self._claim(line, permit.granted, source)
            loaded = await self._load(claimed)
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
        for each in claimed:
            self._settle(each, End.REPLIED, reply)
        return len(claimed)

    def release_strays(self) -> None:
        """Put claimed deliveries back that wait for a source."""
        for strays in self._strays.values():
            for claimed in strays:
                self.release(claimed)
        self._strays.clear()

    def release(self, claimed: Claimed) -> None:
        """Put a claimed delivery back that was never offered."""
        self._tools.settlement.release(claimed)

    def _settle(self, claimed: Claimed, end: End, reply: Reply) -> None:
        self._tools.settlement.settle(
            claimed,
            Attempt(empty_parcel(claimed), end, reply),
            source=claimed.source,
            ladder=self.site.profile.retry,
            provider=self.site.profile.provider,
        )

    def _take_strays(self, source: SourceId, want: int) -> list[Claimed]:
        strays = self._strays.get(source)
        if strays is None:
            return []
        taken = [strays.popleft() for _ in range(min(want, len(strays)))]
        if not strays:
            del self._strays[source]
        return taken

    async def _wait_for_work(self) -> bool:
        if self._owner.must_yield():
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        try:
            async with asyncio.timeout(self._owner.idle_s()):
                return await waiter
        except TimeoutError:
            return False
        finally:
            if not waiter.done() or waiter.cancelled():
                self._forget(waiter)

    def _forget(self, waiter: asyncio.Future[bool]) -> None:
        if waiter in self._idle:
            self._idle.remove(waiter)

    async def _claim(self, line: Line, want: int, source: SourceId) -> list[Claimed]:
        asked = min(want, line.available)
        self.lines.charge(line, asked)
        if line.available <= asked:
            self.lines.remove(line)  # other connections need not ask it meanwhile
        try:
            claimed = await self._tools.claims.claim(line, asked, source)
        except StoreError as error:
            logger.warning("cannot claim: %s", error)
            self._rest(line, "the store does not answer")
            return []
        self._replace(line)
        mine = []
        for each in claimed:
            if each.source == source or not self._has_source(each.source):
                mine.append(each)
            elif each.source is not None:
                self._strays.setdefault(each.source, deque()).append(each)
        return mine

    def _replace(self, line: Line) -> None:
        """Put ``line`` where it belongs after a claim: active, or back until due."""
        now = self._tools.clock.now()
        if line.available <= 0:
            self.lines.remove(line)
        elif line.ready_at() <= now:
            self.lines.add(line)
        else:
            self.lines.remove(line)
            self._owner.park(line)

    def _has_source(self, source: SourceId | None) -> bool:
        now = self._tools.clock.now()
        permit = self._tools.permits.permit(self.keys, now, 1, source)
        return permit.source == source

    async def _load(self, claimed: Sequence[Claimed]) -> list[tuple[Claimed, Content]]:
        if not claimed:
            return []
        try:
            contents = await self._tools.contents.get(
                {each.message for each in claimed}
            )
        except StoreError as error:
            logger.warning("cannot read contents: %s", error)
            for each in claimed:
                self._rest(each.line, "contents cannot be read")
                self.release(each)
            return []
        loaded: list[tuple[Claimed, Content]] = []
        for each in claimed:
            content = contents.get(each.message)
            if content is None:
                self._settle(each, End.REPLIED, _CONTENT_GONE)
            elif await self._may_hold(content, is_first=not loaded):
                loaded.append((each, content))
            else:
                self.release(each)
        return loaded

    async def _may_hold(self, content: Content, *, is_first: bool) -> bool:
        """Take room in memory for ``content``.

        Only the first of a batch is waited for: nothing is held meanwhile, so sessions
        cannot lock each other.
        """
        budget = self._tools.budget
        if not is_first:
            return budget.try_acquire(content.octets)
        return await budget.acquire(content.octets, within_s=MEMORY_WAIT_S)

    def _rest(self, line: Line, reason: str) -> None:
        """Let ``line`` rest for a moment after a fault of ours."""
        line.rest(self._tools.clock.now() + FAULT_REST, reason)
        self.lines.remove(line)
        self._owner.park(line)


class LaneFeed:
    """Implements the courier's port ``Feed`` for one connection of a lane."""

    def __init__(self, lane: Lane, source: SourceId, tools: Tools) -> None:
        self._lane = lane
        self._source = source
        self._tools = tools
        #: What is under way, with its octets and when it was taken, in steady seconds.
        self._taken: dict[int, tuple[Claimed, int, float]] = {}
        #: Whether the connection got as far as asking for mail.
        self.was_asked = False

    async def take(self, want: int) -> Sequence[Parcel]:
        """Return up to ``want`` claimed deliveries; empty: close the connection."""
        if not self.was_asked:
            self.was_asked = True
            self._lane.is_connecting = False
        parcels = []
        taken = await self._lane.take(self._source, want)
        now = self._tools.clock.steady()
        for claimed, content in taken:
            self._taken[claimed.id] = (claimed, content.octets, now)
            parcels.append(_parcel(claimed, content))
        return parcels

    def settle(self, attempt: Attempt) -> None:
        """Move the delivery on. Never blocks."""
        claimed, octets, taken_at = self._taken.pop(attempt.parcel.delivery)
        self._tools.budget.release(octets)
        provider = self._lane.site.profile.provider
        if attempt.end is not End.NOT_OFFERED:
            took_s = self._tools.clock.steady() - taken_at
            self._tools.tally.attempted(provider, took_s)
        line = claimed.line
        if attempt.end is End.UNSIGNABLE:
            until = self._tools.clock.now() + UNSIGNABLE_REST
            line.rest(until, str(attempt.reply))
        self._tools.settlement.settle(
            claimed,
            attempt,
            source=self._source,
            ladder=self._lane.site.profile.retry,
            provider=provider,
        )

    def abandon(self) -> None:
        """Settle what a faulty session left: it may have arrived."""
        for claimed, octets, _ in list(self._taken.values()):
            self._tools.budget.release(octets)
            self._tools.settlement.settle(
                claimed,
                Attempt(empty_parcel(claimed), End.AMBIGUOUS, _ABANDONED),
                source=self._source,
                ladder=self._lane.site.profile.retry,
                provider=self._lane.site.profile.provider,
            )
        self._taken.clear()


def _parcel(claimed: Claimed, content: Content) -> Parcel:
    return Parcel(
        claimed.id,
        claimed.attempt,
        claimed.message,
        content.header,
        content.body,
        claimed.recipient,
        content.reverse_path,
        content.accepted_at,
        content.sending_domain,
        claimed.selector,
        claimed.notify,
        claimed.orcpt,
        content.ret,
        content.envid,
    )
