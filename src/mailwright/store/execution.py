"""Runs the steps of one unit on a cursor. Knows nothing of turns or threads."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from mailwright.store.sqlite import DIALECT
from mailwright.store.statements import (
    SEQ,
    Bindable,
    Bound,
    Compiled,
    Many,
    Row,
    Statement,
    Unit,
    UnitResult,
)

#: What a unit can raise: SQLite's refusal, a parameter that is missing or that no
#: column can hold, a statement that the engine cannot express.
UNIT_ERRORS: Final = (
    sqlite3.Error,
    SQLAlchemyError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    MemoryError,
)


#: Rows of one insertion where many are inserted. A thread that runs a statement lets go
#: the interpreter and has to win it back: once for a group is cheaper than for each row.
GROUP: Final = 50
#: An insertion of one row, of which groups can be made.
_ONE_ROW: Final = re.compile(r"(INSERT INTO [^()]+\([^()]+\) VALUES )(\([^()]+\))")


@lru_cache(maxsize=64)
def _grouped(text: str) -> str | None:
    """Return the insertion of :data:`GROUP` rows; ``None``: it is something else."""
    match = _ONE_ROW.fullmatch(text)
    return None if match is None else match[1] + ", ".join([match[2]] * GROUP)


class UnitRunner:
    """Runs units inside the transaction that its caller has begun.

    Attributes:
        seq: the last event number given; the caller restores it after a rollback.
        doing: the name of the statement that is running, or failed last.
    """

    __slots__ = ("_cursor", "doing", "seq")

    def __init__(self, cursor: sqlite3.Cursor, seq: int) -> None:
        self._cursor = cursor
        self.seq = seq
        self.doing = ""

    def run(self, unit: Unit) -> UnitResult:
        """Run ``unit`` and return its guards' rows, one list for each step.

        Raises:
            UNIT_ERRORS: a statement failed; the caller must roll back.
        """
        return [
            self._unguarded(step.then)
            if step.guard is None
            else self._guarded(step.guard, step.then, step.otherwise, carry=step.carry)
            for step in unit.steps
        ]

    def _unguarded(self, bounds: tuple[Statement, ...]) -> list[Row]:
        for bound in bounds:
            self._execute(bound)
        return []

    def _guarded(
        self,
        guard: Bound,
        then: tuple[Statement, ...],
        otherwise: tuple[Statement, ...] | Callable[[], tuple[Statement, ...]],
        *,
        carry: bool,
    ) -> list[Row]:
        self._execute(guard)
        rows: list[Row] = self._cursor.fetchall()
        if not rows:
            for bound in otherwise() if callable(otherwise) else otherwise:
                self._execute(bound)
        elif carry:
            names = [column[0] for column in self._cursor.description]
            for row in rows:
                carried = dict(zip(names, row, strict=True))
                for bound in then:
                    self._execute(bound, carried)
        else:
            for _ in rows:
                for bound in then:
                    self._execute(bound)
        return rows

    def _execute(
        self, bound: Statement, carried: Mapping[str, Bindable] | None = None
    ) -> None:
        if isinstance(bound, Many):
            self._execute_many(bound)
            return
        query, params = bound
        self.doing = query.name
        compiled = query.compiled(DIALECT)
        if carried is not None:
            params = {**carried, **compiled.fixed, **params}
        elif compiled.fixed:
            params = {**compiled.fixed, **params}
        if params.get("seq") is SEQ:
            self.seq += 1
            params = {**params, "seq": self.seq}
        self._cursor.execute(compiled.text, compiled.pick(params))

    def _execute_many(self, many: Many) -> None:
        self.doing = many.query.name
        compiled = many.query.compiled(DIALECT)
        values = self._values(many, compiled)
        whole = len(values) - len(values) % GROUP
        text = _grouped(compiled.text) if whole else None
        if text is None:
            self._cursor.executemany(compiled.text, values)
            return
        for start in range(0, whole, GROUP):
            group = values[start : start + GROUP]
            self._cursor.execute(text, tuple(chain.from_iterable(group)))
        if whole < len(values):
            self._cursor.executemany(compiled.text, values[whole:])

    def _values(self, many: Many, compiled: Compiled) -> Sequence[tuple[Bindable, ...]]:
        """Return the rows with the values in the marks' order, numbers given."""
        names, rows = many.names, many.rows
        if compiled.names != names:
            if surplus := set(names).difference(compiled.names):
                raise LookupError(f"no place for {', '.join(sorted(surplus))}")
            constants = tuple(compiled.fixed.items())
            places = {
                name: place
                for place, name in enumerate((*names, *(name for name, _ in constants)))
            }
            order = [places[name] for name in compiled.names]
            fixed = tuple(value for _, value in constants)
            rows = [tuple((*row, *fixed)[place] for place in order) for row in rows]
        if "seq" not in compiled.names:
            return rows
        return list(self._numbered(rows, compiled.names.index("seq")))

    def _numbered(
        self, rows: Sequence[tuple[Bindable, ...]], place: int
    ) -> Iterator[tuple[Bindable, ...]]:
        for row in rows:
            if row[place] is SEQ:
                self.seq += 1
                yield (*row[:place], self.seq, *row[place + 1 :])
            else:
                yield row
