"""What cannot be reached: hosts that do not answer, domains that have none.

A few deliveries of each line carry the reply; the others keep their due time, and the
line rests, for longer the more often in a row its host could not be reached.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mailwright.ids import PoolId
from mailwright.queue.dispatch import Lane, LaneOwner
from mailwright.queue.line import Line
from mailwright.queue.retry import next_attempt_at
from mailwright.queue.tools import Tools
from mailwright.reply import Reply
from mailwright.site import Pipelining, Profile, Site, TlsDemand
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: Deliveries of a line that carry the reply when their host cannot be reached.
DEFER_AT_ONCE: Final = 50
_NOWHERE: Final = Site(
    "", (), (), Profile("", 1, 1, Pipelining.NONE, TlsDemand.NONE, (300.0,))
)


class Unreachable:
    """Lets what cannot be reached rest, and remembers how often it could not.

    Args:
        rested: takes a line back that rests.
        failures_max: returns how many hosts are remembered.
    """

    def __init__(
        self,
        tools: Tools,
        owner: LaneOwner,
        rested: Callable[[Line], None],
        failures_max: Callable[[], int],
    ) -> None:
        self._tools = tools
        self._owner = owner
        self._rested = rested
        self._failures_max = failures_max
        self._failures: OrderedDict[tuple[str, PoolId], int] = OrderedDict()

    def failures(self, lane: Lane) -> int:
        """Return how often in a row the host of ``lane`` could not be reached."""
        return self._failures.get((lane.site.key, lane.pool), 0)

    def reached(self, lane: Lane) -> None:
        """Note that a connection of ``lane`` asked for mail."""
        self._failures.pop((lane.site.key, lane.pool), None)

    async def domain_failed(
        self, line: Line, reply: Reply, ladder: tuple[float, ...]
    ) -> None:
        """Let a domain without a site end, or put off, what is due for it."""
        profile = replace(_NOWHERE.profile, retry=ladder)
        site = replace(_NOWHERE, profile=profile)
        lane = Lane(site, line.key.pool, self._tools, self._owner)
        try:
            while await lane.defer(line, reply, DEFER_AT_ONCE):
                if not reply.is_permanent:
                    break
        except StoreError:
            logger.exception("cannot claim")
        if line.available > 0:
            self._rest(line, reply, 1, ladder)

    async def host_failed(self, lane: Lane, reply: Reply) -> None:
        """Let every line of a lane rest whose host cannot be reached."""
        key = (lane.site.key, lane.pool)
        failures = self._failures[key] = self._failures.pop(key, 0) + 1
        while len(self._failures) > self._failures_max():
            self._failures.popitem(last=False)
        lane.release_strays()
        for line in list(lane.lines):
            if line not in lane.lines:
                continue  # it was withdrawn meanwhile
            lane.lines.remove(line)
            try:
                await lane.defer(line, reply, DEFER_AT_ONCE)
            except StoreError:
                logger.exception("cannot claim")
            self._rest(line, reply, failures, lane.site.profile.retry)

    def _rest(
        self, line: Line, reply: Reply, failures: int, ladder: tuple[float, ...]
    ) -> None:
        now = self._tools.clock.now()
        until = next_attempt_at(failures, ladder, now=now, jitter=0.5)
        line.rest(until, str(reply))
        self._rested(line)
