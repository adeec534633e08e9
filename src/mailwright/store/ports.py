"""What the rest of the node sees of the store.

The real one is :class:`mailwright.store.store.Store`; the same test-suite runs over
every implementation.
"""

from collections.abc import Callable
from typing import Protocol

from mailwright.errors import MailwrightError
from mailwright.store.statements import Bound, Row, Unit, UnitResult


class StoreError(MailwrightError):
    """A unit was rolled back; nothing of it is stored."""


class StoreConflictError(StoreError):
    """A unique key or another constraint refused a unit."""


class StoreFullError(StoreError):
    """No room on the disk; try again later (452)."""


class StoreFailedError(StoreError):
    """The disk failed a write or a sync. Final: nothing is accepted after it.

    Whether the unit is stored is not known until the next start: refuse it for now
    (451), or close without an answer, but do not say that it was rejected.
    """


class Pending(Protocol):
    """A unit that was handed in."""

    def withdraw(self) -> bool:
        """Take the unit back; false when it has begun (then await its end)."""
        ...


#: Called on the event loop when a unit ended: its result, or why it was rolled back.
Done = Callable[[UnitResult | None, StoreError | None], None]


class UnitStore(Protocol):
    """Runs units durably and reads rows."""

    #: The number of this start, database-wide; deliveries carry it.
    epoch: int
    #: This node.
    node: int

    @property
    def is_short(self) -> bool:
        """The disk was full a moment ago: nothing new is stored, nothing be claimed."""
        ...

    def submit(self, unit: Unit, done: Done) -> Pending:
        """Queue ``unit``; ``done`` is called on the loop after its commit was synced.

        Units run in the order in which they were handed in (bulk ones after
        interactive ones). Never blocks.
        """
        ...

    async def run(self, unit: Unit) -> UnitResult:
        """Run ``unit`` and return its rows when they are durable.

        Cancelling the caller does not undo a unit that has begun.

        Raises:
            StoreError: it was rolled back.
        """
        ...

    async def read(self, *bounds: Bound) -> list[list[Row]]:
        """Return each statement's rows from one snapshot of a read-only connection.

        Runs on a reader thread; takes ≤ 10 s. Sees every unit whose ``run`` returned
        before the call.
        """
        ...
