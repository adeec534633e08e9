"""Rows that wait to be inserted together. Lives on the store thread.

A thread that runs a statement lets go of the interpreter and has to win it back, which
costs more than most statements do. So the insertions of a turn wait, each table's in
its order, and are written many rows to a statement: when the turn ends, or before the
first other statement that names their table.

That changes nothing that could be seen. No statement reads or writes a table that has
rows waiting; statements on different tables do not depend on each other, because the
schema has neither triggers nor foreign keys nor views; and SQLite works a statement's
rows off one by one, so that even an ``ON CONFLICT`` meets the rows before its own.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from mailwright.store.statements import Bindable

#: Rows of the largest statement; so many are not kept waiting.
GROUP: Final = 50
#: Fewer are written so many at a time at most: each number is a statement of its own.
_FEW: Final = 16
_INSERTION: Final = re.compile(
    r"(INSERT INTO (?P<table>\w+) \([^()]+\) VALUES )(?P<row>\([^()]+\))"
    r"(?P<rest> ON CONFLICT [^?]+)?"
)
#: With these it gives rows, or depends on other tables.
_MORE: Final = re.compile(r"\b(RETURNING|SELECT)\b")


class Insertion(NamedTuple):
    """An ``INSERT`` of one row of which one of many can be made.

    Attributes:
        text: the whole of it, with the blank between ``VALUES`` and its row.
    """

    table: str
    text: str
    head: str
    row: str
    rest: str

    def of(self, count: int) -> str:
        """Return the insertion of ``count`` rows."""
        return f"{self.head}{', '.join([self.row] * count)}{self.rest}"


@lru_cache(maxsize=1024)
def insertion_of(text: str) -> Insertion | None:
    """Return ``text`` as an insertion; ``None``: it is something else."""
    match = _INSERTION.fullmatch(text)
    if match is None or _MORE.search(match["rest"] or ""):
        return None
    return Insertion(match["table"], text, match[1], match["row"], match["rest"] or "")


@lru_cache(maxsize=1024)
def _text_of(insertion: Insertion, count: int) -> str:
    return insertion.of(count)


class _Waiting(NamedTuple):
    """What waits for one table: rows of one statement."""

    name: str
    insertion: Insertion
    rows: list[Sequence[Bindable]]


#: Runs a statement: its name, its text, its values.
Execute: TypeAlias = Callable[[str, str, tuple[Bindable, ...]], None]


class WaitingRows:
    """The rows of one turn that are not written yet."""

    __slots__ = ("_by_table", "_execute")

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._by_table: dict[str, _Waiting] = {}

    def add(
        self, name: str, insertion: Insertion, rows: Iterable[Sequence[Bindable]]
    ) -> None:
        """Let ``rows`` wait; ``name`` is what errors call the statement.

        May write rows: of another statement on this table, or a full group.
        """
        waiting = self._by_table.get(insertion.table)
        if waiting is not None and waiting.insertion is not insertion:
            self._write(waiting)
            waiting = None
        if waiting is None:
            waiting = _Waiting(name, insertion, [])
            self._by_table[insertion.table] = waiting
        waiting.rows.extend(rows)
        if len(waiting.rows) >= GROUP:
            whole = len(waiting.rows) - len(waiting.rows) % GROUP
            self._insert(waiting, waiting.rows[:whole], GROUP)
            del waiting.rows[:whole]

    def write_before(self, text: str) -> None:
        """Write what waits for the tables that the statement ``text`` names."""
        if self._by_table:
            for table in [each for each in self._by_table if each in text]:
                self._write(self._by_table[table])

    def write(self) -> None:
        """Write all that waits."""
        for waiting in list(self._by_table.values()):
            self._write(waiting)

    def drop(self) -> None:
        """Forget what waits: its transaction was rolled back."""
        self._by_table.clear()

    def _write(self, waiting: _Waiting) -> None:
        self._insert(waiting, waiting.rows, _FEW)
        del self._by_table[waiting.insertion.table]

    def _insert(
        self, waiting: _Waiting, rows: list[Sequence[Bindable]], most: int
    ) -> None:
        """Insert ``rows`` in their order, at most ``most`` with one statement."""
        for start in range(0, len(rows), most):
            some = rows[start : start + most]
            text = _text_of(waiting.insertion, len(some))
            self._execute(waiting.name, text, tuple(chain.from_iterable(some)))
