"""A unit on its way through the writer, and what becomes of it."""

import threading
from enum import Enum
from typing import TypeAlias

from mailwright.store.ports import Done, StoreError
from mailwright.store.statements import Unit, UnitResult


class Stage(Enum):
    """Where a submitted unit is."""

    WAITING = 0  # may be withdrawn
    BEGUN = 1  # will be answered
    WITHDRAWN = 2  # will not be run or answered


class Submitted:
    """A unit that was handed in (:class:`mailwright.store.ports.Pending`).

    Attributes:
        stage: changed only under the writer's lock.
    """

    __slots__ = ("_lock", "done", "stage", "unit")

    def __init__(self, unit: Unit, done: Done, lock: threading.Condition) -> None:
        self.unit = unit
        self.done = done
        self.stage = Stage.WAITING
        self._lock = lock

    def withdraw(self) -> bool:
        """Take the unit back; false when it has begun (then its answer will come)."""
        with self._lock:
            if self.stage is Stage.WAITING:
                self.stage = Stage.WITHDRAWN
            return self.stage is Stage.WITHDRAWN


#: Whom to tell, and what: the unit's rows, or why it was rolled back.
Outcome: TypeAlias = tuple[Done, UnitResult | None, StoreError | None]
