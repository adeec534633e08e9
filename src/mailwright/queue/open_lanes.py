"""The lanes there are, which line is in which, and who waits for one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from mailwright.ids import LineId, PoolId
from mailwright.queue.crowd import Crowd
from mailwright.queue.dispatch import Lane
from mailwright.queue.line import Line
from mailwright.site import Site

#: When a line that found no room for a lane looks for it by itself.
CROWDED_REST: Final = timedelta(minutes=1)
_SAME: Final = timedelta(seconds=1)


class OpenLanes:
    """Lanes by (site, pool), as many as may be at once."""

    def __init__(self, limit: int) -> None:
        self._lanes: dict[tuple[str, PoolId], Lane] = {}
        self._lane_of: dict[LineId, Lane] = {}
        self._crowd: Crowd[Line] = Crowd(limit)
        self._crowded_until = datetime.min.replace(tzinfo=UTC)

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __contains__(self, lane: Lane) -> bool:
        return self._lanes.get((lane.site.key, lane.pool)) is lane

    def bound(self, limit: int) -> None:
        """Take over how many there may be; it acts on what is opened from now on."""
        self._crowd.limit = limit

    def of(self, line: Line) -> Lane | None:
        """Return the lane that ``line`` is in."""
        return self._lane_of.get(line.id)

    def join(
        self, line: Line, site: Site, make: Callable[[Site, PoolId], Lane]
    ) -> Lane | None:
        """Put ``line`` in its lane at ``site``, making that if need be, and return it.

        ``None``: there are too many; the line waits for one that goes away.
        """
        key, provider = (site.key, line.key.pool), site.profile.provider
        lane = self._lanes.get(key)
        if lane is None:
            if not self._crowd.has_room(provider):
                self._crowd.wait(provider, line)
                return None
            self._crowd.opened(provider)
            lane = self._lanes[key] = make(site, line.key.pool)
        self._lane_of[line.id] = lane
        return lane

    def crowded_until(self, now: datetime) -> datetime:
        """Return until when a line rests that finds no room at ``now``.

        The same for all of about a second: there may be a hundred thousand.
        """
        until = now + CROWDED_REST
        if abs(until - self._crowded_until) >= _SAME:
            self._crowded_until = until
        return self._crowded_until

    def leave(self, line: Line) -> Lane | None:
        """Take ``line`` out of the lane that it is in, if it is, and return that."""
        return self._lane_of.pop(line.id, None)

    def leave_all(self, lane: Lane) -> list[Line]:
        """Take every line out that is in ``lane``, and return who ever came by."""
        for line in lane.members:
            if self._lane_of.get(line.id) is lane:
                del self._lane_of[line.id]
        return list(lane.members)

    def forget(self, lane: Lane) -> None:
        """Count ``lane`` no more; its lines are in it still."""
        del self._lanes[lane.site.key, lane.pool]
        self._crowd.closed(lane.site.profile.provider)

    def next_waiter(self) -> Line | None:
        """Return a line that may have a lane now, and let it wait no more."""
        while (waiting := self._crowd.next_waiter()) is not None:
            if waiting.available > 0 and waiting.id not in self._lane_of:
                return waiting
        return None
