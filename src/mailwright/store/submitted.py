"""A unit on its way through the writer, and what becomes of it."""

from typing import TypeAlias

from mailwright.store.ports import Done, StoreError
from mailwright.store.statements import Unit, UnitResult


class Submitted:
    """A unit that was handed in (:class:`mailwright.store.ports.Pending`).

    Its owner on the event loop may withdraw it until the store thread has begun it.
    There is one ticket for that, which only one of them can take: taking an item from a
    list is one step for the interpreter, so that no unit needs a lock.
    """

    __slots__ = ("_is_withdrawn", "_ticket", "done", "unit")

    def __init__(self, unit: Unit, done: Done) -> None:
        self.unit = unit
        self.done = done
        self._ticket = [None]
        self._is_withdrawn = False

    def begin(self) -> bool:
        """Decide that it will be answered; false when it was withdrawn, or begun."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def withdraw(self) -> bool:
        """Take the unit back; false when it has begun (then its answer will come)."""
        if not self._is_withdrawn:
            self._is_withdrawn = self.begin()
        return self._is_withdrawn


#: Whom to tell, and what: the unit's rows, or why it was rolled back.
Outcome: TypeAlias = tuple[Done, UnitResult | None, StoreError | None]
