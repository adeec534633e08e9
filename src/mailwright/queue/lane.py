"""Which line feeds a lane next: deficit round robin, tenants first, then campaigns.

Transactional lines go before bulk ones. Within a class every tenant with mail here gets
the same share; within a tenant every campaign (or stream) gets one by its priority, so a
high one gets more and a low one is never left out; within a campaign its lines take turns.
Shares are counted in deliveries, so a line that gives small batches loses nothing.

Source: Shreedhar and Varghese, "Efficient fair queuing using deficit round robin".
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from mailwright.accounts.directory import StreamClass
from mailwright.ids import CampaignId, StreamId
from mailwright.queue.line import Line
from mailwright.queue.terms import USUAL_PRIORITY

#: Deliveries that a tenant or line gets in a round, and a campaign of usual priority.
QUANTUM: Final = 16
#: Deliveries that a campaign gets in a round, by its priority: each step is about half
#: as much again, the first gets four times the usual share and the last a quarter of it.
QUANTA: Final = (64, 48, 32, 24, QUANTUM, 12, 8, 4)

T = TypeVar("T")


def _equal(_key: Hashable) -> int:
    return QUANTUM


def _usual(_campaign: CampaignId | None) -> int:
    return USUAL_PRIORITY


class _Ring(Generic[T]):
    """Members that take turns; each has a deficit, topped up once a round."""

    def __init__(self, quantum: Callable[[Hashable], int] = _equal) -> None:
        self._quantum = quantum
        self._members: OrderedDict[Hashable, T] = OrderedDict()
        self._deficits: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        return iter(self._members.values())

    def get(self, key: Hashable) -> T | None:
        return self._members.get(key)

    def add(self, key: Hashable, member: T) -> None:
        self._members[key] = member
        self._deficits[key] = 0

    def remove(self, key: Hashable) -> None:
        del self._members[key]
        del self._deficits[key]

    def turn(self) -> T:
        """Return whose turn it is: the first member that has a deficit left.

        There must be one. A member that overdrew by a large batch is passed over until
        its rounds have made up for it.
        """
        while True:
            key = next(iter(self._members))
            if self._deficits[key] <= 0:
                self._deficits[key] += self._quantum(key)
            if self._deficits[key] > 0:
                return self._members[key]
            self._members.move_to_end(key)

    def charge(self, key: Hashable, spent: int) -> None:
        """Take what was spent off a member; without a deficit left it goes last."""
        if key not in self._members:
            return
        self._deficits[key] -= spent
        if self._deficits[key] <= 0:
            self._members.move_to_end(key)


class FairLines:
    """The active lines of a lane. No I/O, no clock.

    Args:
        priority: returns that of a campaign, as of now.
    """

    def __init__(self, priority: Callable[[CampaignId | None], int] = _usual) -> None:
        self._priority = priority
        self._classes: dict[StreamClass, _Ring[_Ring[_Ring[Line]]]] = {
            stream_class: _Ring() for stream_class in sorted(StreamClass)
        }
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, line: Line) -> bool:
        campaigns = self._classes[line.key.stream_class].get(line.key.tenant)
        lines = None if campaigns is None else campaigns.get(_campaign_of(line))
        return lines is not None and lines.get(line.id) is line

    def __iter__(self) -> Iterator[Line]:
        for tenants in self._classes.values():
            for campaigns in tenants:
                for lines in campaigns:
                    yield from lines

    def add(self, line: Line) -> None:
        """Let ``line`` take part; a line that does already is left as it is."""
        if line in self:
            return
        tenants = self._classes[line.key.stream_class]
        campaigns = tenants.get(line.key.tenant)
        if campaigns is None:
            campaigns = _Ring(self._quantum)
            tenants.add(line.key.tenant, campaigns)
        lines = campaigns.get(_campaign_of(line))
        if lines is None:
            lines = _Ring()
            campaigns.add(_campaign_of(line), lines)
        lines.add(line.id, line)
        self._size += 1

    def remove(self, line: Line) -> None:
        """Take ``line`` out: nothing of it is due now."""
        tenants = self._classes[line.key.stream_class]
        campaigns = tenants.get(line.key.tenant)
        lines = None if campaigns is None else campaigns.get(_campaign_of(line))
        if campaigns is None or lines is None or lines.get(line.id) is None:
            return
        lines.remove(line.id)
        if not len(lines):
            campaigns.remove(_campaign_of(line))
        if not len(campaigns):
            tenants.remove(line.key.tenant)
        self._size -= 1

    def next_line(self) -> Line | None:
        """Return the line whose turn it is, or ``None`` when no line is active."""
        for tenants in self._classes.values():
            if len(tenants):
                return tenants.turn().turn().turn()  # tenant, campaign, line
        return None

    def _quantum(self, key: Hashable) -> int:
        campaign = key.campaign if isinstance(key, _Campaign) else None
        return QUANTA[self._priority(campaign)]

    def charge(self, line: Line, spent: int) -> None:
        """Count ``spent`` deliveries against the shares of ``line`` and its owners.

        An empty pull costs one, so that a line without due mail cannot be asked for
        ever.
        """
        tenants = self._classes[line.key.stream_class]
        campaigns = tenants.get(line.key.tenant)
        if campaigns is None:
            return
        spent = max(spent, 1)
        lines = campaigns.get(_campaign_of(line))
        if lines is not None:
            lines.charge(line.id, spent)
            campaigns.charge(_campaign_of(line), spent)
        tenants.charge(line.key.tenant, spent)


class _Campaign(NamedTuple):
    """A campaign, or what a stream has of none."""

    campaign: CampaignId | None
    stream: StreamId


def _campaign_of(line: Line) -> _Campaign:
    return _Campaign(line.key.campaign, line.key.stream)
