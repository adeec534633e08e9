"""Strays: claimed deliveries that have to leave from another source than who claimed.

Greylisting knows the source of the first attempt, so a retry waits for that one.
"""

from collections import deque

from mailwright.ids import SourceId
from mailwright.queue.claimed import Claimed
from mailwright.queue.line import Line


class Strays:
    """The strays of a lane, by the source that they wait for."""

    __slots__ = ("_by_source",)

    def __init__(self) -> None:
        self._by_source: dict[SourceId, deque[Claimed]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_source)

    def sources(self) -> list[SourceId]:
        """Return the sources that something waits for."""
        return list(self._by_source)

    def add(self, source: SourceId, claimed: Claimed) -> None:
        """Let ``claimed`` wait for ``source``."""
        self._by_source.setdefault(source, deque()).append(claimed)

    def first_line(self, source: SourceId) -> Line | None:
        """Return the line of what leaves from ``source`` next."""
        waiting = self._by_source.get(source)
        return None if waiting is None else waiting[0].line

    def in_a_row(self, source: SourceId, most: int) -> int:
        """Return how many of one line are next for ``source``, up to ``most``."""
        waiting = self._by_source[source]
        line, count = waiting[0].line, 0
        while count < min(most, len(waiting)) and waiting[count].line is line:
            count += 1
        return count

    def take(self, source: SourceId, count: int) -> list[Claimed]:
        """Return the next ``count`` for ``source``; they wait no more."""
        waiting = self._by_source[source]
        taken = [waiting.popleft() for _ in range(count)]
        if not waiting:
            del self._by_source[source]
        return taken

    def take_all(self, source: SourceId) -> list[Claimed]:
        """Return all that wait for ``source``; they wait no more."""
        return list(self._by_source.pop(source))

    def take_line(self, line: Line) -> list[Claimed]:
        """Return all of ``line``; they wait no more."""
        taken: list[Claimed] = []
        for source, waiting in list(self._by_source.items()):
            left = deque(each for each in waiting if each.line is not line)
            taken += (each for each in waiting if each.line is line)
            if left:
                self._by_source[source] = left
            else:
                del self._by_source[source]
        return taken
