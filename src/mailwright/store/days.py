"""Day tables: what is final lies in tables of its UTC day, to be dropped whole."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import TypeAlias

from sqlalchemy import Table, bindparam, delete, insert, select

from mailwright.clock import to_micros
from mailwright.store.ddl import creations, dropping
from mailwright.store.statements import Query, Row, Step, Unit, Urgency
from mailwright.store.tables import days

#: Gives a room's table of one day.
DayTable: TypeAlias = Callable[[date], Table]

_FIND = Query("find day", select(days.c.day).where(days.c.day == bindparam("day")))
_ADD = Query("add day", insert(days))
_FORGET = Query("forget day", delete(days).where(days.c.day == bindparam("day")))
ALL_DAYS = Query("all days", select(days.c.day).order_by(days.c.day))


def number_of(day: date) -> int:
    """Return ``day`` as ``days`` keeps it: 20261231."""
    return day.year * 10_000 + day.month * 100 + day.day


def day_of(number: int) -> date:
    """Return the day that :func:`number_of` made ``number`` from."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def days_of(rows: Iterable[Row]) -> set[date]:
    """Return the days in the rows of :data:`ALL_DAYS`."""
    return {day_of(row[0]) for row in rows}


def day_unit(day: date, tables: Sequence[DayTable], *, now: datetime) -> Unit:
    """Return the unit that makes the tables of ``day``, where absent, and its row."""
    made = [
        Step(then=tuple(query() for query in creations(table(day), if_not_exists=True)))
        for table in tables
    ]
    number = number_of(day)
    row = Step(
        guard=_FIND(day=number),
        otherwise=(_ADD(day=number, created_at=to_micros(now)),),
    )
    return Unit((*made, row))


def drop_unit(day: date, tables: Sequence[DayTable]) -> Unit:
    """Return the unit that drops the tables of ``day`` and its row."""
    dropped = Step(then=tuple(dropping(table(day)) for table in tables))
    row = Step(then=(_FORGET(day=number_of(day)),))
    return Unit((dropped, row), Urgency.BULK)
