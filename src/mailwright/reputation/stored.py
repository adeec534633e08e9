"""What permits remember, kept over restarts.

After an orderly stop every decision goes on as it was. After a crash, or when the clock
is suspect, nobody knows what was used last: buckets start empty and fill at their rate,
and what was reserved of a day's allowance counts as used. So no restart gives an
allowance twice.
"""

import logging
from collections import Counter
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.clock import Clock, ClockTrust
from mailwright.reputation.buckets import Buckets
from mailwright.reputation.growth import Growth
from mailwright.reputation.ledger import Ledgers, Reservation
from mailwright.reputation.permits import State
from mailwright.reputation.tables import buckets, ledgers
from mailwright.reputation.throttle import to_ns
from mailwright.store.days import day_of, number_of
from mailwright.store.ports import StoreError, UnitStore
from mailwright.store.statements import Bound, Query, UnitResult, Urgency, unit

logger = logging.getLogger(__name__)

#: Ledgers are kept for plans that look back.
LEDGER_DAYS: Final = timedelta(days=100)
_SLICE: Final = 500
#: The name of the row that says that a stop was orderly.
_ORDERLY: Final = ""
_FIRST_EPOCH: Final = 1

_bucket = upsert(buckets)
_KEEP_BUCKET: Final = Query(
    "keep bucket",
    _bucket.on_conflict_do_update(
        index_elements=[buckets.c.node, buckets.c.name],
        set_={"full_at": _bucket.excluded.full_at},
    ),
)
_KEPT: Final = Query(
    "kept buckets",
    select(buckets.c.name, buckets.c.full_at).where(
        buckets.c.node == bindparam("my_node")
    ),
)
_FORGET_KEPT: Final = Query(
    "forget kept buckets", delete(buckets).where(buckets.c.node == bindparam("my_node"))
)
_ledger = upsert(ledgers)
_RESERVE: Final = Query(
    "reserve",
    _ledger.on_conflict_do_update(
        index_elements=[ledgers.c.day, ledgers.c.key],
        set_={"used": _ledger.excluded.used},
    ),
)
_NEWEST_DAY: Final = Query("newest ledger", select(func.max(ledgers.c.day)))
_LEDGERS: Final = Query(
    "ledgers of a day",
    select(ledgers.c.key, ledgers.c.used).where(ledgers.c.day == bindparam("of_day")),
)
_FORGET_LEDGERS: Final = Query(
    "forget ledgers", delete(ledgers).where(ledgers.c.day < bindparam("before"))
)


class StoredLimits:
    """The state of permits, with its rows in the store."""

    def __init__(self, store: UnitStore, clock: Clock, trust: ClockTrust) -> None:
        self._store = store
        self._clock = clock
        self._trust = trust
        self.state = State(
            Buckets(),
            Ledgers(clock.now().date(), self._commit),
            Growth(),
            Counter(),
        )

    async def load(self) -> None:
        """Take over what the last stop kept; before anything is sent.

        Raises:
            StoreError: the store failed.
        """
        now = self._clock.now()
        kept, newest = await self._store.read(
            _KEPT(my_node=self._store.node), _NEWEST_DAY()
        )
        saved: dict[str, int] = dict(row for row in kept)
        is_orderly = saved.pop(_ORDERLY, None) is not None
        # From now on a crash finds no mark of an orderly stop.
        await self._store.run(unit(_FORGET_KEPT(my_node=self._store.node)))
        if is_orderly and not self._trust.is_suspect:
            self.state.buckets.restore(saved.items(), to_ns(now))
        elif self._store.epoch != _FIRST_EPOCH:
            self.state.buckets.start_empty(to_ns(now))
        await self._load_ledgers(newest[0][0])

    async def save(self) -> None:
        """Keep everything at an orderly stop; after the last delivery was settled.

        Raises:
            StoreError: not everything is kept; the next start is careful.
        """
        now = self._clock.now()
        node = self._store.node
        rows = [
            *(
                _KEEP_BUCKET(node=node, name=name, full_at=full_at)
                for name, full_at in self.state.buckets.unfilled(to_ns(now))
            ),
            *(_reserve(each) for each in self.state.ledgers.unused()),
            # Last: what is before it is there when this is.
            _KEEP_BUCKET(node=node, name=_ORDERLY, full_at=to_ns(now)),
        ]
        for start in range(0, len(rows), _SLICE):
            await self._store.run(
                unit(*rows[start : start + _SLICE], urgency=Urgency.BULK)
            )

    async def _load_ledgers(self, newest: int | None) -> None:
        today = self._clock.now().date()
        day = today if newest is None else max(today, day_of(newest))
        if self._trust.is_suspect and newest is not None:
            day = day_of(newest)  # a clock that was set brings no second allowance
        (rows,) = await self._store.read(_LEDGERS(of_day=number_of(day)))
        self.state.ledgers.day = day
        self.state.ledgers.restore((key, used) for key, used in rows)
        await self._store.run(
            unit(
                _FORGET_LEDGERS(before=number_of(day - LEDGER_DAYS)),
                urgency=Urgency.BULK,
            )
        )

    def _commit(self, reservation: Reservation) -> None:
        def done(result: UnitResult | None, error: StoreError | None) -> None:
            if result is not None:
                self.state.ledgers.committed(reservation)
                return
            self.state.ledgers.not_committed(reservation)
            logger.warning("an allowance could not be reserved: %s", error)

        self._store.submit(unit(_reserve(reservation)), done)


def _reserve(reservation: Reservation) -> Bound:
    return _RESERVE(
        day=number_of(reservation.day),
        key=reservation.key,
        used=reservation.reserved,
    )
