r"""Statements and units of work: what rooms hand to the store.

A room writes its SQL once, as SQLAlchemy Core, wrapped in a :class:`Query`. Calling the
query binds values and gives a :class:`Bound`; a :class:`Unit` is a tuple of
:class:`Step`\\ s and is what the store runs whole or not at all. The store knows none of
the rooms' meanings.

Core is compiled to text once for each engine, because completing a Core statement
costs more than running it. Upserts are written with
``sqlalchemy.dialects.postgresql.insert``, whose ``ON CONFLICT`` both engines compile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ClauseElement
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from typing_extensions import override

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Any, ...]


class _Seq(Enum):
    """The type of :data:`SEQ`."""

    SEQ = "SEQ"


#: Bind this to a parameter named ``seq``: the store gives the next event number of this
#: node, inside the transaction, so that the numbers are in commit order.
SEQ: Final = _Seq.SEQ


#: What a statement's parameters may be bound to.
Bindable: TypeAlias = Value | _Seq


class Compiled(NamedTuple):
    """A statement as an engine takes it.

    Attributes:
        text: the SQL.
        names: the parameters; for an engine that counts them, one for each mark, in
            the marks' order.
        fixed: the values that Core itself put in (``state == 0``, ``limit(100)``).
        pick: takes the values of ``names``, in that order, out of a mapping; raises
            ``KeyError`` for the first one missing.
    """

    text: str
    names: tuple[str, ...]
    fixed: Mapping[str, Value]
    pick: Callable[[Mapping[str, Bindable]], tuple[Bindable, ...]]


def _picker(
    names: tuple[str, ...],
) -> Callable[[Mapping[str, Bindable]], tuple[Bindable, ...]]:
    """Return what takes ``names`` out of a mapping; ``itemgetter`` is the fast way."""
    match names:
        case ():
            return lambda params: ()
        case (name,):
            return lambda params: (params[name],)
        case _:
            return itemgetter(*names)


class Query:
    """One statement of a room, compiled to text once per engine."""

    __slots__ = ("_compiled", "_core", "name")

    def __init__(self, name: str, core: ClauseElement) -> None:
        """Wrap ``core``; ``name`` is what logs and errors call it."""
        self.name = name
        self._core = core
        self._compiled: dict[str, Compiled] = {}

    def __call__(self, **params: Bindable) -> "Bound":
        """Return this statement with its values; every parameter must be named."""
        return Bound(self, params)

    def compiled(self, dialect: Dialect) -> Compiled:
        """Return the statement in ``dialect``'s spelling; compiled at the first call.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the engine cannot express it.
        """
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compile(self._core, dialect)
        return compiled

    @override
    def __repr__(self) -> str:
        return f"Query({self.name!r})"


def _compile(core: ClauseElement, dialect: Dialect) -> Compiled:
    compiler = core.compile(dialect=dialect)
    if not isinstance(compiler, SQLCompiler):  # DDL has no parameters
        return Compiled(str(compiler), (), {}, _picker(()))
    required = {name for name, bind in compiler.binds.items() if bind.required}
    # Expanding writes out the lists of ``in_``; it wants some value for everything.
    state = compiler.construct_expanded_state(
        dict.fromkeys(required), escape_names=False
    )
    fixed = {
        name: value for name, value in state.parameters.items() if name not in required
    }
    names = tuple(state.positiontup or state.parameters)
    return Compiled(state.statement, names, fixed, _picker(names))


class Bound(NamedTuple):
    """A query with its values."""

    query: Query
    params: Mapping[str, Bindable]


class Many(NamedTuple):
    """A statement that runs once for each of many rows of values.

    What bulk work is written with: the engine is asked once, and no mapping is made for
    a row. It cannot be a guard and takes nothing from one.

    Attributes:
        names: the parameters, in the order of the rows' values.
        rows: values; :data:`SEQ` stands for the next event number, in its column.
    """

    query: Query
    names: tuple[str, ...]
    rows: Sequence[tuple[Bindable, ...]]


#: What a unit is made of.
Statement: TypeAlias = Bound | Many


@dataclass(frozen=True, slots=True)
class Step:
    """A guarded part of a unit.

    Without a guard, ``then`` runs once. With one (an ``INSERT``, ``UPDATE`` or
    ``DELETE`` with ``RETURNING``, or a ``SELECT``): ``then`` runs once for each row that
    the guard returned, ``otherwise`` runs once if it returned none.

    Attributes:
        guard: the statement whose rows decide.
        then: statements for each returned row. With ``carry`` the row's columns are
            bound by name, beneath the statement's own values (what it was called with,
            and the constants that Core put in: ``values(state=2)`` stays 2 whatever the
            row's ``state`` is).
        otherwise: statements for the case of no row; a function is called for them then,
            on the store thread.
        carry: whether ``then`` takes values from the guard's rows.
    """

    guard: Bound | None = None
    then: tuple[Statement, ...] = ()
    otherwise: tuple[Statement, ...] | Callable[[], tuple[Statement, ...]] = ()
    carry: bool = False


class Urgency(IntEnum):
    """Which units go first when a turn begins."""

    INTERACTIVE = 0  # accepts, claims, settles: somebody waits
    BULK = 1  # ingest, cancel, expiry, purge: yields between turns


@dataclass(frozen=True, slots=True)
class Unit:
    """Steps that commit together. Never split; keep it under 5 ms of statements.

    Attributes:
        grows: it takes in something new. After the disk was full such units are refused
            until there is room again, so that the others find some.
    """

    steps: tuple[Step, ...]
    urgency: Urgency = field(default=Urgency.INTERACTIVE)
    grows: bool = False


#: What a unit gave: for each step the rows that its guard returned, as plain tuples.
UnitResult: TypeAlias = Sequence[Sequence[Row]]


def unit(*bounds: Statement, urgency: Urgency = Urgency.INTERACTIVE) -> Unit:
    """Return a unit of unguarded statements."""
    return Unit((Step(then=bounds),), urgency)
