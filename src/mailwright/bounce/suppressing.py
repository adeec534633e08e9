"""Adding, ending and asking about suppressions, by address, on the store.

Addresses come in canonical and are forgotten: what is stored and listed is the subject.
Many are written in slices that let accepts and settles through; each slice is durable
when the next one begins, so a repeat after an interruption only adds what is missing.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailwright.address import Address
from mailwright.bounce.suppression import (
    BEGINNING,
    Cause,
    Place,
    Scope,
    Suppression,
    of_subject,
    of_tenant,
    release,
    suppress_new,
    suppression_of,
    suppressions_of,
)
from mailwright.clock import Clock
from mailwright.ids import StreamId, Subject, TenantId
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Step, Unit, Urgency

#: Rows of one unit: a few milliseconds of statements.
_AT_ONCE: Final = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which suppressions of a tenant are asked for.

    Attributes:
        stream: ``None``: of whatever stream.
        reason: ``None``: for whatever reason.
    """

    tenant: TenantId
    stream: StreamId | None = None
    reason: str | None = None


class Suppressions:
    """The suppressions in a store; works whether a node runs on it or not."""

    def __init__(
        self,
        store: UnitStore,
        clock: Clock,
        subject_of: Callable[[Address], Subject],
    ) -> None:
        self._store = store
        self._clock = clock
        self._subject_of = subject_of

    async def add(
        self, addresses: Sequence[Address], scope: Scope, cause: Cause
    ) -> int:
        """Suppress ``addresses``; return how many were not suppressed so before.

        What is queued for them ends as ``suppressed`` when its turn comes. Durable on
        return; costs about 15 µs an address.

        Raises:
            StoreError: some may be stored; adding them again is safe.
        """
        added = 0
        at = self._clock.now()
        urgency = Urgency.BULK if len(addresses) > 1 else Urgency.INTERACTIVE
        for start in range(0, len(addresses), _AT_ONCE):
            some = addresses[start : start + _AT_ONCE]
            steps = tuple(
                Step(suppress_new(self._subject_of(each), scope, cause, at=at))
                for each in some
            )
            found = await self._store.run(Unit(steps, urgency, grows=True))
            added += sum(map(len, found))
        return added

    async def remove(
        self, address: Address, scope: Scope, *, author: str
    ) -> Suppression | None:
        """End the suppression of exactly ``scope``; return it, if there was one.

        Raises:
            StoreError: it may be there still.
        """
        step = Step(release(self._subject_of(address), scope))
        ((*rows,),) = await self._store.run(Unit((step,)))
        if not rows:
            return None
        found = suppression_of(rows[0])
        logger.info(
            "%s ended a suppression (%s, made by %s) of tenant %d, stream %d",
            *(author, found.cause.reason, found.cause.author),
            *(scope.tenant, scope.stream),
        )
        return found

    async def of(
        self, address: Address, tenant: TenantId | None
    ) -> Sequence[Suppression]:
        """Return what stops mail to ``address``: of ``tenant``, or of anyone.

        Everyone's are among them in either case.
        """
        now = self._clock.now()
        subject = self._subject_of(address)
        (rows,) = await self._store.read(of_subject(subject, tenant, now=now))
        return suppressions_of(rows)

    async def page(
        self, wanted: Wanted, after: Place | None, limit: int
    ) -> Sequence[Suppression]:
        """Return up to ``limit`` that are ``wanted``, the oldest first, after a place."""
        (rows,) = await self._store.read(
            of_tenant(
                wanted.tenant,
                stream=wanted.stream,
                reason=wanted.reason,
                after=after or BEGINNING,
                most=limit,
                now=self._clock.now(),
            )
        )
        return suppressions_of(rows)
