"""Whose turn it is among the sources of a pool: smooth weighted round robin.

Counted in deliveries, so that batches of any size end up in proportion to the weights,
and the order is the same every time. A pool that overflows goes on with the next pool's
sources.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from mailwright.accounts.directory import Pool, Source
from mailwright.ids import PoolId, SourceId

#: A source is never owed, nor owes, more than this many deliveries of its pool.
CREDIT_MAX: Final = 10_000
#: How far mail overflows.
_POOLS_MAX: Final = 4


class SourceTurns:
    """What each source is owed.

    Args:
        pools: returns the pools as they are now; called at each question.
    """

    def __init__(self, pools: Callable[[], Mapping[PoolId, Pool]]) -> None:
        self._pools = pools
        #: In deliveries times the pool's whole weight.
        self._credit: dict[PoolId, dict[SourceId, int]] = {}

    def candidates(self, pool: PoolId) -> Iterator[tuple[Pool, Source]]:
        """Yield the sources that mail of ``pool`` may leave from, in their turn.

        First the pool's own, whoever is owed most before the others (equals in the
        pool's order); then those of the pools that it overflows to.
        """
        for each in self._chain(pool):
            if len(each.sources) == 1:
                yield each, each.sources[0][0]
                continue
            credit = self._credits(each)
            by_turn = sorted(
                each.sources, key=lambda member: -credit[member[0].id] - member[1]
            )
            for source, _ in by_turn:
                yield each, source

    def member(self, pool: PoolId, source: SourceId) -> tuple[Pool, Source] | None:
        """Return ``source`` and whose it is, if mail of ``pool`` may leave from it."""
        for each in self._chain(pool):
            for found in each.sources:
                if found[0].id == source:
                    return each, found[0]
        return None

    def charge(self, pool: Pool, chosen: SourceId, count: int) -> None:
        """Count ``count`` deliveries that leave from the source ``chosen`` of ``pool``."""
        if len(pool.sources) == 1:
            return
        credit = self._credits(pool)
        total = sum(weight for _, weight in pool.sources)
        most = CREDIT_MAX * total
        for source, weight in pool.sources:
            owed = credit[source.id] + weight * count
            if source.id == chosen:
                owed -= total * count
            credit[source.id] = max(-most, min(owed, most))

    def _chain(self, first: PoolId) -> Iterator[Pool]:
        pools, wanted, seen = self._pools(), first, 0
        while seen < _POOLS_MAX:
            pool = pools.get(wanted)
            if pool is None:
                return
            yield pool
            if pool.overflow is None or pool.overflow == first:
                return
            wanted, seen = pool.overflow, seen + 1

    def _credits(self, pool: Pool) -> dict[SourceId, int]:
        credit = self._credit.get(pool.id)
        if credit is None or credit.keys() != {source.id for source, _ in pool.sources}:
            # A pool whose sources changed starts afresh: nobody pays for the past.
            credit = self._credit[pool.id] = {
                source.id: 0 for source, _ in pool.sources
            }
        return credit
