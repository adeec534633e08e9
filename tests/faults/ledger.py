"""What a row of the ledger says: how often a fault was injected, and what it cost."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from fakes.slowness import allowed


class Size(Enum):
    """How much is done: all of it, or a few seconds of each row."""

    SHORT = "short"
    FULL = "full"

    def pick(self, short: int, full: int) -> int:
        """Return the number that belongs to this size."""
        return full if self is Size.FULL else short

    def budget(self, strict: float) -> float:
        """Return what a budget by the clock is: the full size keeps it as it is."""
        return strict if self is Size.FULL else allowed(strict)


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: what was done, in a few words.
        injected: how often the fault happened.
        acknowledged: deliveries that the node took; those of the control not.
        lost: of these, neither at their receiver nor in the queue, or given up.
        unexplained: whatever else must not be: copies that no event marks, copies
            beyond the bound, answers before their sync, wrong octets, wrong exits.
        control: whether the known-bad node was caught; ``None`` when it did not run.
        notes: further raw numbers.
        complaints: what was wrong, for people.
    """

    name: str
    injected: int
    acknowledged: int
    lost: int
    unexplained: int
    control: bool | None
    notes: dict[str, object] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, and whether the row could have told."""
        return (
            self.injected > 0
            and self.acknowledged > 0
            and self.lost == 0
            and self.unexplained == 0
            and self.control is True
        )

    def __str__(self) -> str:
        caught = {True: "caught", False: "MISSED", None: "NOT RUN"}[self.control]
        notes = "".join(f" {name}={value}" for name, value in self.notes.items())
        return (
            f"{self.name:<28} injected {self.injected:>4}  "
            f"acknowledged {self.acknowledged:>6}  lost {self.lost}  "
            f"unexplained {self.unexplained}  control {caught}{notes}"
        )


#: Runs one row in an empty folder.
RowRunner = Callable[[Path, Size], Awaitable[Row]]
