"""Permits: how many deliveries may leave now, and from which source.

Sources of a pool share its mail by weight: smooth weighted round robin, counted in
deliveries, so that batches of any size end up in proportion and the order is the same
every time. A caller that names a source keeps it while the pool has it (greylisting
knows the source of the first attempt). Pure: no clock, no I/O.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from mailwright.accounts.directory import Pool
from mailwright.ids import PoolId, SourceId
from mailwright.permit import Permit, PermitKeys

#: When to ask again for a pool that has nothing to send from: a person has to act.
NO_SOURCE_WAIT: Final = timedelta(minutes=1)


class Permits:
    """Grants what is wanted, from the source whose turn it is.

    Args:
        pools: returns the pools as they are now; called at each question.
    """

    def __init__(self, pools: Callable[[], Mapping[PoolId, Pool]]) -> None:
        self._pools = pools
        #: What each source is owed, in deliveries times the pool's whole weight.
        self._credit: dict[PoolId, dict[SourceId, int]] = {}

    def permit(
        self,
        keys: PermitKeys,
        now: datetime,
        want: int,
        source: SourceId | None = None,
    ) -> Permit:
        """Answer for ``want`` (≥ 1) deliveries of the pool in ``keys``.

        ``source`` asks for that one in particular; it takes nobody's turn, for the
        first attempt was counted. When the pool does not have it (any more), another
        one is chosen.
        """
        pool = self._pools().get(keys.pool)
        if pool is None or not pool.sources:
            self._credit.pop(keys.pool, None)
            return Permit(None, 0, now + NO_SOURCE_WAIT, "the pool has no source")
        if source is None or all(member.id != source for member, _ in pool.sources):
            source = self._take_turn(pool, want)
        return Permit(source, want)

    def _take_turn(self, pool: Pool, want: int) -> SourceId:
        credit = self._credit.get(pool.id)
        if credit is None or credit.keys() != {source.id for source, _ in pool.sources}:
            # A pool whose sources changed starts afresh: nobody pays for the past.
            credit = self._credit[pool.id] = {
                source.id: 0 for source, _ in pool.sources
            }
        for source, weight in pool.sources:
            credit[source.id] += weight * want
        # The first of equals, in the pool's order.
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= sum(weight for _, weight in pool.sources) * want
        return chosen
