"""★ When to look at what again: at most one time for each thing.

Putting, dropping and taking cost the logarithm of how many there are; an entry that was
put anew or dropped is passed over when its turn comes.
"""

import heapq
from collections.abc import Hashable, Iterator
from datetime import datetime
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

#: Nobody is told to wait longer: wall time may be slewed.
LOOK_S: Final = 60.0


class Timetable(Generic[T]):
    """Things with the time when they are due; equals by identity or ``__eq__``."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._at: dict[T, datetime] = {}
        self._entries = count()

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, thing: T) -> bool:
        return thing in self._at

    def put(self, thing: T, at: datetime) -> bool:
        """Let ``thing`` be due at ``at``, no more when it was; whether it is first now."""
        if self._at.get(thing) == at:
            return False
        self._at[thing] = at
        heapq.heappush(self._heap, (at, next(self._entries), thing))
        return self._heap[0][2] is thing

    def put_earlier(self, thing: T, at: datetime) -> bool:
        """Do as :meth:`put`, unless it is due earlier already."""
        known = self._at.get(thing)
        return (known is None or known > at) and self.put(thing, at)

    def drop(self, thing: T) -> None:
        """Let ``thing`` be due no more."""
        self._at.pop(thing, None)

    def take_due(self, now: datetime) -> Iterator[T]:
        """Yield what is due, the earliest first; it is in the table no more."""
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heapq.heappop(self._heap)
            if self._at.get(thing) == at:
                del self._at[thing]
                yield thing

    def wait_s(self, now: datetime) -> float | None:
        """Return the seconds until something is due, at most :data:`LOOK_S`."""
        while self._heap:
            at, _, thing = self._heap[0]
            if self._at.get(thing) == at:
                return min(max((at - now).total_seconds(), 0.0), LOOK_S)
            heapq.heappop(self._heap)
        return None
