"""One statement for many rows: the values go where the same statement takes them."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    insert,
    literal_column,
    update,
)

from mailwright.store.execution import UNIT_ERRORS, UnitRunner
from mailwright.store.statements import SEQ, Many, Query, Step, Unit, unit
from mailwright.store.waiting_rows import GROUP

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("seq", Integer),
    Column("kind", Text),
)
INSERT = Query("insert thing", insert(things))
NAMES = ("id", "name", "seq", "kind")


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name, seq, kind)")
        yield opened


def rows_of(connection: sqlite3.Connection) -> list[tuple]:
    return connection.execute("SELECT * FROM things ORDER BY id").fetchall()


def test_every_row_is_written_and_numbered_in_order(connection) -> None:
    runner = UnitRunner(connection.cursor(), 7)
    rows = [(1, "a", SEQ, "x"), (2, "b", SEQ, "x"), (3, "c", None, "x")]
    runner.run(unit(Many(INSERT, NAMES, rows)))
    assert rows_of(connection) == [
        (1, "a", 8, "x"),
        (2, "b", 9, "x"),
        (3, "c", None, "x"),
    ]
    assert runner.seq == 9


def test_values_may_come_in_another_order_beside_constants(connection) -> None:
    constant = Query(
        "insert x",
        insert(things).values(
            id=bindparam("id"),
            name=bindparam("name"),
            kind=literal_column("'x'"),
            seq=5,
        ),
    )
    names = ("name", "id")
    UnitRunner(connection.cursor(), 0).run(
        unit(Many(constant, names, [("a", 1), ("b", 2)]))
    )
    assert rows_of(connection) == [(1, "a", 5, "x"), (2, "b", 5, "x")]


@pytest.mark.parametrize("count", [GROUP - 1, GROUP, 2 * GROUP, 2 * GROUP + 3])
def test_groups_and_what_is_left_over_are_all_written_in_order(
    connection, count: int
) -> None:
    rows = [(number, f"n{number}", SEQ, "it's") for number in range(count)]
    runner = UnitRunner(connection.cursor(), 0)
    runner.run(unit(Many(INSERT, NAMES, rows)))
    assert rows_of(connection) == [
        (number, f"n{number}", number + 1, "it's") for number in range(count)
    ]
    assert runner.seq == count


def test_a_statement_that_is_no_insertion_of_one_row_runs_for_each(connection) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    rows = [(number, "", 0, "") for number in range(GROUP)]
    runner.run(unit(Many(INSERT, NAMES, rows)))
    renaming = Query(
        "rename",
        update(things).where(things.c.id == bindparam("it")).values(name="x"),
    )
    runner.run(unit(Many(renaming, ("it",), [(n,) for n in range(GROUP)])))
    assert {row[1] for row in rows_of(connection)} == {"x"}


def test_a_guard_decides_about_all_of_them(connection) -> None:
    guard = Query("guard", insert(things).returning(things.c.id))
    many = Many(INSERT, NAMES, [(2, "b", 0, ""), (3, "c", 0, "")])
    runner = UnitRunner(connection.cursor(), 0)
    first = guard(id=1, name="a", seq=0, kind="")
    assert runner.run(Unit((Step(first, (many,)),))) == [[(1,)]]
    assert len(rows_of(connection)) == 3


def test_a_row_that_cannot_be_stored_fails_the_unit_by_its_name(connection) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    with pytest.raises(UNIT_ERRORS):
        runner.run(unit(Many(INSERT, NAMES, [(1, "a", 0, ""), (1, "b", 0, "")])))
    assert runner.doing == "insert thing"


def test_a_name_that_the_statement_wants_and_nobody_gives_is_an_error(
    connection,
) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    with pytest.raises(KeyError, match="kind"):
        runner.run(unit(Many(INSERT, NAMES[:3], [(1, "a", 0)])))


def test_a_value_that_the_statement_has_no_place_for_is_an_error(connection) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    with pytest.raises(LookupError, match="colour"):
        runner.run(unit(Many(INSERT, (*NAMES, "colour"), [(1, "a", 0, "", "red")])))
