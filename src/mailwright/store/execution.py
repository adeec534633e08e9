"""Runs the steps of one unit on a cursor. Knows nothing of turns or threads."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from mailwright.store.waiting_rows import WaitingRows, insertion_of

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


class UnitRunner:
    """Runs units inside the transaction that its caller has begun.

    Attributes:
        seq: the last event number given.
        doing: the name of the statement that is running, or failed last.
    """

    __slots__ = ("_cursor", "_waiting", "doing", "seq")

    def __init__(self, cursor: sqlite3.Cursor, seq: int) -> None:
        self._cursor = cursor
        self._waiting = WaitingRows(self._call)
        self.seq = seq
        self.doing = ""

    def run(self, unit: Unit) -> UnitResult:
        """Run ``unit`` and return its guards' rows, one list for each step.

        Raises:
            UNIT_ERRORS: a statement failed; the caller must roll back.
        """
        result = self.run_beside(unit)
        self.finish()
        return result

    def run_beside(self, unit: Unit) -> UnitResult:
        """Run ``unit``, but let its insertions wait for those of other units.

        They are written by :meth:`finish`, at the latest, and may fail there.

        Raises:
            UNIT_ERRORS: a statement failed, of this unit or of one before it.
        """
        return [
            self._unguarded(step.then)
            if step.guard is None
            else self._guarded(step.guard, step.then, step.otherwise, carry=step.carry)
            for step in unit.steps
        ]

    def finish(self) -> None:
        """Write what waits.

        Raises:
            UNIT_ERRORS: a statement failed; the caller must roll back.
        """
        self._waiting.write()

    def rolled_back(self, seq: int) -> None:
        """Go on from the event number ``seq``: what came after it is undone."""
        self._waiting.drop()
        self.seq = seq

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
        compiled, values = self._bound(guard, None)
        self._call_now(guard.query.name, compiled.text, values)
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
        self, statement: Statement, carried: Mapping[str, Bindable] | None = None
    ) -> None:
        name = self.doing = statement.query.name
        if isinstance(statement, Many):
            self._execute_many(statement)
            return
        compiled, values = self._bound(statement, carried)
        insertion = insertion_of(compiled.text)
        if insertion is None:
            self._call_now(name, compiled.text, values)
        else:
            self._waiting.add(name, insertion, (values,))

    def _bound(
        self, bound: Bound, carried: Mapping[str, Bindable] | None
    ) -> tuple[Compiled, tuple[Bindable, ...]]:
        """Return the statement with the values in the marks' order, numbers given."""
        query, params = bound
        compiled = query.compiled(DIALECT)
        if carried is not None:
            params = {**carried, **compiled.fixed, **params}
        elif compiled.fixed:
            params = {**compiled.fixed, **params}
        if params.get("seq") is SEQ:
            self.seq += 1
            params = {**params, "seq": self.seq}
        return compiled, compiled.pick(params)

    def _execute_many(self, many: Many) -> None:
        compiled = many.query.compiled(DIALECT)
        values = self._values(many, compiled)
        insertion = insertion_of(compiled.text)
        if insertion is None:
            self._waiting.write_before(compiled.text)
            self.doing = many.query.name
            self._cursor.executemany(compiled.text, values)
        else:
            self._waiting.add(many.query.name, insertion, values)

    def _call_now(self, name: str, text: str, values: tuple[Bindable, ...]) -> None:
        self._waiting.write_before(text)
        self._call(name, text, values)

    def _call(self, name: str, text: str, values: tuple[Bindable, ...]) -> None:
        self.doing = name
        self._cursor.execute(text, values)

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
