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
#: Members up to which a ring is kept small; then, that it is quick whatever comes.
FEW: Final = 16

T = TypeVar("T")


def _equal(_key: Hashable) -> int:
    return QUANTUM


def _usual(_campaign: CampaignId | None) -> int:
    return USUAL_PRIORITY


class _Seat(Generic[T]):
    """A member of a ring, with its deficit."""

    __slots__ = ("deficit", "key", "member")

    def __init__(self, key: Hashable, member: T) -> None:
        self.key = key
        self.member = member
        self.deficit = 0


class _Ring(Generic[T]):
    """Members that take turns; each has a deficit, topped up once a round.

    There are thousands of lanes with half a dozen rings each, and most rings have one
    member: that one needs no dictionary. A few are in a plain one, which takes a third
    of what an ordered one does; its first is found in no time only while it is small.
    """

    __slots__ = ("_one", "_quantum", "_seats")

    def __init__(self, quantum: Callable[[Hashable], int] = _equal) -> None:
        self._quantum = quantum
        #: The only member, while there is but one and have never been more.
        self._one: _Seat[T] | None = None
        #: All members, the next first, once there were two.
        self._seats: dict[Hashable, _Seat[T]] | None = None

    def __len__(self) -> int:
        if self._seats is not None:
            return len(self._seats)
        return 0 if self._one is None else 1

    def __iter__(self) -> Iterator[T]:
        if self._seats is not None:
            return (seat.member for seat in self._seats.values())
        return iter(() if self._one is None else (self._one.member,))

    def get(self, key: Hashable) -> T | None:
        seat = self._seat(key)
        return None if seat is None else seat.member

    def _seat(self, key: Hashable) -> _Seat[T] | None:
        if self._seats is not None:
            return self._seats.get(key)
        one = self._one
        return one if one is not None and one.key == key else None

    def add(self, key: Hashable, member: T) -> None:
        """Let ``member`` take part, as the last; it does not yet."""
        seat = _Seat(key, member)
        if self._seats is None:
            if self._one is None:
                self._one = seat
                return
            self._seats = {self._one.key: self._one}
            self._one = None
        elif len(self._seats) == FEW and not isinstance(self._seats, OrderedDict):
            self._seats = OrderedDict(self._seats)
        self._seats[key] = seat

    def remove(self, key: Hashable) -> None:
        """Let the member of ``key``, which does, take part no more."""
        if self._seats is None:
            self._one = None
            return
        del self._seats[key]
        if not self._seats:
            self._seats = None

    def turn(self) -> T:
        """Return whose turn it is: the first member that has a deficit left.

        There must be one. A member that overdrew by a large batch is passed over until
        its rounds have made up for it.
        """
        while True:
            seats = self._seats
            seat = self._one if seats is None else next(iter(seats.values()))
            if seat is None:
                raise IndexError("an empty ring")
            if seat.deficit <= 0:
                seat.deficit += self._quantum(seat.key)
            if seat.deficit > 0:
                return seat.member
            self._put_last(seat)

    def charge(self, key: Hashable, spent: int) -> None:
        """Take what was spent off a member; without a deficit left it goes last."""
        seat = self._seat(key)
        if seat is None:
            return
        seat.deficit -= spent
        if seat.deficit <= 0:
            self._put_last(seat)

    def _put_last(self, seat: _Seat[T]) -> None:
        if self._seats is not None:
            del self._seats[seat.key]
            self._seats[seat.key] = seat


class FairLines:
    """The active lines of a lane. No I/O, no clock.

    Args:
        priority: returns that of a campaign, as of now.
    """

    __slots__ = ("_classes", "_priority", "_size")

    def __init__(self, priority: Callable[[CampaignId | None], int] = _usual) -> None:
        self._priority = priority
        #: By the number of the class: what goes first is first.
        self._classes: tuple[_Ring[_Ring[_Ring[Line]]], ...] = tuple(
            _Ring() for _ in StreamClass
        )
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, line: Line) -> bool:
        campaigns = self._classes[line.key.stream_class].get(line.key.tenant)
        lines = None if campaigns is None else campaigns.get(_campaign_of(line))
        return lines is not None and lines.get(line.id) is line

    def __iter__(self) -> Iterator[Line]:
        for tenants in self._classes:
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
        for tenants in self._classes:
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
