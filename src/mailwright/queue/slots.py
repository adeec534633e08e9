"""Who gets the node's connections: shared between providers, none may hold them all.

A provider that answers slowly, or not at all, ends up with every connection that it is
given. So an eighth is kept from any one of them, and when connections are short, the
lane that gets the next is of the provider with the fewest. And a connection whose
receiver says nothing for long counts for its own provider only: others may have as many
as if it were not there, up to twice the limit in all.
"""

from collections import Counter, OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Slots(Generic[T]):
    """Connections of the node, by provider, and who waits for one. No I/O."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        #: Of those taken, how many wait for their receivers for long.
        self.stuck = 0
        self._by_provider: Counter[str] = Counter()
        self._waiting: dict[str, OrderedDict[T, None]] = {}

    @property
    def is_full(self) -> bool:
        """Whether nobody may have one more."""
        return self.taken - min(self.stuck, self.limit) >= self.limit

    @property
    def share(self) -> int:
        """How many one provider may hold."""
        return self.limit - self.limit // 8

    @property
    def is_used_up(self) -> bool:
        """Whether there are as many as the limit; what is stuck matters then."""
        return self.taken >= self.limit

    @property
    def is_short(self) -> bool:
        """Whether someone waits who may have the next that is free."""
        return any(self._by_provider[each] < self.share for each in self._waiting)

    def try_take(self, provider: str) -> bool:
        """Take one for ``provider`` if it may have one more."""
        if self.is_full or self._by_provider[provider] >= self.share:
            return False
        self.taken += 1
        self._by_provider[provider] += 1
        return True

    def free(self, provider: str) -> None:
        """Give one back."""
        self.taken -= 1
        self.stuck = min(self.stuck, self.taken)
        self._by_provider[provider] -= 1
        if not self._by_provider[provider]:
            del self._by_provider[provider]

    def wait(self, provider: str, waiter: T) -> None:
        """Let ``waiter`` wait, first come first served within its provider."""
        self._waiting.setdefault(provider, OrderedDict())[waiter] = None

    def forget(self, provider: str, waiter: T) -> None:
        """Let ``waiter`` wait no more, if it does."""
        waiting = self._waiting.get(provider)
        if waiting is not None and waiter in waiting:
            del waiting[waiter]
            if not waiting:
                del self._waiting[provider]

    def next_waiter(self) -> T | None:
        """Return who may have the next one, and let it wait no more."""
        if self.is_full or not self._waiting:
            return None
        provider = min(self._waiting, key=self._by_provider.__getitem__)
        if self._by_provider[provider] >= self.share:
            return None
        waiter = next(iter(self._waiting[provider]))
        self.forget(provider, waiter)
        return waiter
