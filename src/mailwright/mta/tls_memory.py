"""Where opportunistic TLS failed lately, kept across restarts.

Asked on the loop, answered from memory; what is learnt is written as a bulk unit and is
no great loss if a crash takes it: the next connection learns it again.
"""

from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite speaks it too

from mailwright.clock import from_micros, to_micros
from mailwright.mta.tables import tls_failures
from mailwright.mta.tls import BROKEN_FOR, RecentTlsFailures
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query, Urgency, unit

_row = upsert(tls_failures)
_REMEMBER = Query(
    "remember TLS failure",
    _row.on_conflict_do_update(
        index_elements=[tls_failures.c.mx],
        set_={
            "reason": _row.excluded.reason,
            "failed_at": _row.excluded.failed_at,
            "until": _row.excluded.until,
        },
    ),
)
_KNOWN = Query(
    "TLS failures",
    select(tls_failures.c.mx, tls_failures.c.reason, tls_failures.c.failed_at)
    .where(tls_failures.c.until > bindparam("now"))
    .order_by(tls_failures.c.failed_at),
)
_FORGET = Query(
    "forget TLS failures",
    delete(tls_failures).where(tls_failures.c.until <= bindparam("now")),
)


class StoredTlsFailures:
    """A :class:`~mailwright.mta.tls.TlsMemory` that outlives the process."""

    def __init__(self, store: UnitStore) -> None:
        self._store = store
        self._recent = RecentTlsFailures()

    async def load(self, now: datetime) -> None:
        """Take over what earlier starts learnt, and delete what is over.

        Raises:
            StoreError: the store failed.
        """
        (rows,) = await self._store.read(_KNOWN(now=to_micros(now)))
        for mx, reason, failed_at in rows:
            self._recent.remember(mx, reason, from_micros(failed_at))
        await self._store.run(unit(_FORGET(now=to_micros(now)), urgency=Urgency.BULK))

    def is_broken(self, mx: str, now: datetime) -> bool:
        """Return whether a handshake with the host ``mx`` failed in the last 3 days."""
        return self._recent.is_broken(mx, now)

    def remember(self, mx: str, reason: str, now: datetime) -> None:
        """Note that a handshake with ``mx`` failed; ``reason`` is for people."""
        self._recent.remember(mx, reason, now)
        row = _REMEMBER(
            mx=mx,
            reason=reason,
            failed_at=to_micros(now),
            until=to_micros(now + BROKEN_FOR),
        )
        self._store.submit(
            unit(row, urgency=Urgency.BULK), lambda _result, _error: None
        )
