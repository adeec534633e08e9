r"""Statements and units of work: what rooms hand to the store.

A room writes its SQL once, as SQLAlchemy Core, wrapped in a :class:`Query`. Calling the
query binds values and gives a :class:`Bound`; a :class:`Unit` is a tuple of
:class:`Step`\\ s and is what the store runs whole or not at all. The store knows none of
the rooms' meanings.

Core is compiled to text once for each engine, because completing a Core statement
costs more than running it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ClauseElement
from sqlalchemy.engine import Dialect
from typing_extensions import override

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Any, ...]


class _Seq(Enum):
    """The type of :data:`SEQ`."""

    SEQ = "SEQ"


#: Bind this to a parameter named ``seq``: the store gives the next event number of this
#: node, inside the transaction, so that the numbers are in commit order.
SEQ: Final = _Seq.SEQ


class Query:
    """One statement of a room, compiled to text once per engine."""

    __slots__ = ("_core", "_texts", "name")

    def __init__(self, name: str, core: ClauseElement) -> None:
        """Wrap ``core``; ``name`` is what logs and errors call it."""
        self.name = name
        self._core = core
        self._texts: dict[str, str] = {}

    def __call__(self, **params: Value | _Seq) -> "Bound":
        """Return this statement with its values; every parameter must be named."""
        return Bound(self, params)

    def text(self, dialect: Dialect) -> str:
        """Return the SQL text with named parameters, in ``dialect``'s spelling."""
        text = self._texts.get(dialect.name)
        if text is None:
            compiled = self._core.compile(dialect=dialect)
            text = self._texts[dialect.name] = str(compiled)
        return text

    @override
    def __repr__(self) -> str:
        return f"Query({self.name!r})"


class Bound(NamedTuple):
    """A query with its values."""

    query: Query
    params: Mapping[str, Value | _Seq]


@dataclass(frozen=True, slots=True)
class Step:
    """A guarded part of a unit.

    Without a guard, ``then`` runs once. With one (an ``INSERT``, ``UPDATE`` or
    ``DELETE`` with ``RETURNING``, or a ``SELECT``): ``then`` runs once for each row that
    the guard returned, ``otherwise`` runs once if it returned none.

    Attributes:
        guard: the statement whose rows decide.
        then: statements for each returned row. With ``carry`` the row's columns are
            bound by name, beneath the statement's own values.
        otherwise: statements for the case of no row.
        carry: whether ``then`` takes values from the guard's rows.
    """

    guard: Bound | None = None
    then: tuple[Bound, ...] = ()
    otherwise: tuple[Bound, ...] = ()
    carry: bool = False


class Urgency(IntEnum):
    """Which units go first when a turn begins."""

    INTERACTIVE = 0  # accepts, claims, settles: somebody waits
    BULK = 1  # ingest, cancel, expiry, purge: yields between turns


@dataclass(frozen=True, slots=True)
class Unit:
    """Steps that commit together. Never split; keep it under 5 ms of statements."""

    steps: tuple[Step, ...]
    urgency: Urgency = field(default=Urgency.INTERACTIVE)


#: What a unit gave: for each step the rows that its guard returned, as plain tuples.
UnitResult: TypeAlias = Sequence[Sequence[Row]]


def unit(*bounds: Bound, urgency: Urgency = Urgency.INTERACTIVE) -> Unit:
    """Return a unit of unguarded statements."""
    return Unit((Step(then=bounds),), urgency)
