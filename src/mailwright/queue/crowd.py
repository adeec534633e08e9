"""Which lanes there may be, and which lines wait for one to go away.

A domain whose hosts are its own has a lane of its own, so a job for tens of thousands
of them would make as many lanes, and nobody else's mail would find one. So there is a
limit, and an eighth is kept from any one provider; who finds no room waits in line, and
the next lane is for the provider that has the fewest.
"""

from collections import Counter, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Crowd(Generic[T]):
    """Counts lanes by provider, and knows who waits for one. No I/O, no clock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lanes = 0
        self._by_provider: Counter[str] = Counter()
        #: Those of each provider in turn. There may be a hundred thousand: an ordered
        #: dictionary of them takes twice as much.
        self._waiting: dict[str, deque[T]] = {}
        self._known: dict[str, set[T]] = {}

    def has_room(self, provider: str) -> bool:
        """Return whether ``provider`` may have one lane more."""
        share = self.limit - self.limit // 8
        return self._lanes < self.limit and self._by_provider[provider] < share

    def opened(self, provider: str) -> None:
        """Count a lane."""
        self._lanes += 1
        self._by_provider[provider] += 1

    def closed(self, provider: str) -> None:
        """Count it no more."""
        self._lanes -= 1
        self._by_provider[provider] -= 1
        if not self._by_provider[provider]:
            del self._by_provider[provider]

    def wait(self, provider: str, waiter: T) -> None:
        """Let ``waiter`` wait for a lane; who waits already keeps its place."""
        known = self._known.setdefault(provider, set())
        if waiter not in known:
            known.add(waiter)
            self._waiting.setdefault(provider, deque()).append(waiter)

    def next_waiter(self) -> T | None:
        """Return who may have a lane now, and let it wait no more."""
        provider = min(
            filter(self.has_room, self._waiting),
            key=self._by_provider.__getitem__,
            default=None,
        )
        if provider is None:
            return None
        waiting = self._waiting[provider]
        waiter = waiting.popleft()
        self._known[provider].discard(waiter)
        if not waiting:
            del self._waiting[provider], self._known[provider]
        return waiter
