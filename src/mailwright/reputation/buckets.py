"""All buckets of a node: made when they are first asked for, forgotten when full.

A full bucket is the same as none, so only those that were used lately are kept, and
memory has a bound that can never let more through: when it is reached, what would need
one more bucket waits.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from mailwright.reputation.throttle import Bucket, Throttle

#: Buckets that are not full, at most.
BUCKETS_MAX: Final = 200_000
#: Full ones are looked for when there are at least so many, and not more often.
_SWEEP_FROM: Final = 1024
_SWEEP_PAUSE_NS: Final = 1_000_000_000


class Buckets:
    """Buckets by name."""

    def __init__(self, *, most: int = BUCKETS_MAX) -> None:
        self._most = most
        self._sweep_at = min(_SWEEP_FROM, most)
        self._by_name: dict[str, Bucket] = {}
        self._swept_at = 0
        self._saved: dict[str, int] = {}
        self._restored_at = 0
        self._emptied_at: int | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str, throttle: Throttle, now: int) -> Bucket | None:
        """Return a bucket; ``None`` when there is no room for one more."""
        bucket = self._by_name.get(name)
        if bucket is not None and bucket.throttle is not throttle:
            if bucket.throttle == throttle:
                bucket.throttle = throttle  # spares the next comparison
            else:
                bucket = self._by_name[name] = bucket.under(throttle, now)
        if bucket is None:
            if len(self._by_name) >= self._sweep_at and not self._sweep(now):
                return None
            bucket = Bucket(throttle, self._full_at(name, throttle))
            self._by_name[name] = bucket
        return bucket

    def restore(self, saved: Iterable[tuple[str, int]], now: int) -> None:
        """Take over what an orderly stop kept: every decision goes on as it was."""
        self._saved = {name: at for name, at in saved if at > now}
        self._restored_at = now
        self._emptied_at = None

    def start_empty(self, now: int) -> None:
        """Start without what was: nobody knows what was used before ``now``.

        Every bucket is empty then and fills at its rate, so that neither a crash nor a
        clock that was set gives an allowance twice.
        """
        self._saved.clear()
        self._by_name.clear()
        self._emptied_at = now

    def unfilled(self, now: int) -> Iterator[tuple[str, int]]:
        """Yield name and ``full_at`` of everything that is not full."""
        for name, bucket in self._by_name.items():
            if bucket.full_at > now:
                yield name, bucket.full_at
        for name, full_at in self._saved.items():
            if full_at > now:
                yield name, full_at

    def _full_at(self, name: str, throttle: Throttle) -> int:
        whole = throttle.rate.burst * throttle.interval_ns
        if self._emptied_at is not None:
            return self._emptied_at + whole
        saved = self._saved.pop(name, 0)
        return min(saved, self._restored_at + whole)  # the clock may have been set back

    def _sweep(self, now: int) -> bool:
        """Forget full buckets; return whether there is room now."""
        if 0 <= now - self._swept_at < _SWEEP_PAUSE_NS:
            return len(self._by_name) < self._most
        self._swept_at = now
        self._by_name = {
            name: bucket
            for name, bucket in self._by_name.items()
            if not bucket.is_forgettable(now)
        }
        self._saved = {name: at for name, at in self._saved.items() if at > now}
        # Half as many again before the next look: sweeping costs nothing on average.
        self._sweep_at = min(max(_SWEEP_FROM, len(self._by_name) * 3 // 2), self._most)
        return len(self._by_name) < self._most
