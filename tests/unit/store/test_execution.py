import sqlite3

import pytest
from sqlalchemy import bindparam, insert, literal, select

from mailwright.store.execution import UNIT_ERRORS, UnitRunner
from mailwright.store.statements import SEQ, Query, Step, Unit, unit
from unit.store.rig import ADD, CHANGE, LOG, NAMES, TAKE, make_tables, note, notes

COPY = Query(
    "copy note",
    insert(notes).values(name="copy of " + bindparam("name"), value=bindparam("value")),
)


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(connection)
    return connection


def names(connection: sqlite3.Connection) -> list[str]:
    return [
        row[0] for row in connection.execute("SELECT name FROM notes ORDER BY place")
    ]


def run(connection: sqlite3.Connection, *steps: Step) -> list[list[tuple[object, ...]]]:
    result = UnitRunner(connection.cursor(), 0).run(Unit(steps))
    return [list(rows) for rows in result]


def test_an_unguarded_step_runs_once_and_gives_no_rows(
    connection: sqlite3.Connection,
) -> None:
    step = Step(then=(ADD(name="a", value=1),), otherwise=(ADD(name="b", value=1),))
    assert run(connection, step) == [[]]
    assert names(connection) == ["a"]


def test_then_runs_for_each_row_of_the_guard(connection: sqlite3.Connection) -> None:
    run(connection, Step(then=(ADD(name="a", value=1), ADD(name="b", value=1))))
    every = Query("every", select(notes.c.name))
    rows = run(connection, Step(guard=every(), then=(LOG(seq=SEQ, name="x"),)))
    assert rows == [[("a",), ("b",)]]
    logged = connection.execute("SELECT seq, name FROM log").fetchall()
    assert logged == [(1, "x"), (2, "x")]


def test_otherwise_runs_once_when_the_guard_gave_no_row(
    connection: sqlite3.Connection,
) -> None:
    step = Step(
        guard=CHANGE(which="nobody", to=2),
        then=(ADD(name="then", value=0),),
        otherwise=(ADD(name="otherwise", value=0),),
    )
    assert run(connection, step) == [[]]
    assert names(connection) == ["otherwise"]


def test_carry_binds_the_row_beneath_the_statement_s_own_values(
    connection: sqlite3.Connection,
) -> None:
    run(connection, Step(then=(ADD(name="a", value=1),)))
    guard = CHANGE(which="a", to=5)
    run(connection, Step(guard=guard, then=(COPY(),), carry=True))
    run(connection, Step(guard=guard, then=(COPY(name="b", value=9),), carry=True))
    rows = connection.execute("SELECT name, value FROM notes ORDER BY place").fetchall()
    assert rows == [("a", 5), ("copy of a", 5), ("copy of b", 9)]


def test_carry_lies_beneath_the_constants_of_core(
    connection: sqlite3.Connection,
) -> None:
    """A row that moves from table to table must not bring its old state along."""
    run(connection, Step(then=(ADD(name="a", value=1),)))
    guard = Query("guard", select(literal("b").label("name"), notes.c.value))
    move = Query("move", insert(notes).values(name=bindparam("name"), value=3))
    run(connection, Step(guard=guard(), then=(move(),), carry=True))
    rows = connection.execute("SELECT name, value FROM notes ORDER BY place").fetchall()
    assert rows == [("a", 1), ("b", 3)]


def test_without_carry_the_row_s_values_are_not_seen(
    connection: sqlite3.Connection,
) -> None:
    run(connection, Step(then=(ADD(name="a", value=1),)))
    with pytest.raises(KeyError):
        run(connection, Step(guard=CHANGE(which="a", to=5), then=(COPY(),)))


def test_a_guard_that_returns_no_columns_counts_as_no_row(
    connection: sqlite3.Connection,
) -> None:
    run(connection, Step(then=(ADD(name="a", value=1),)))
    step = Step(guard=TAKE(which="a"), otherwise=(ADD(name="b", value=1),))
    assert run(connection, step) == [[]]
    assert names(connection) == ["b"]


def test_results_come_one_list_for_each_step(connection: sqlite3.Connection) -> None:
    result = run(
        connection,
        Step(then=(ADD(name="a", value=1),)),
        Step(guard=NAMES()),
        Step(guard=CHANGE(which="a", to=4)),
    )
    assert result == [[], [("a",)], [("a", 4)]]


def test_seq_counts_on_from_what_the_runner_holds(
    connection: sqlite3.Connection,
) -> None:
    runner = UnitRunner(connection.cursor(), 41)
    runner.run(unit(LOG(seq=SEQ, name="a"), LOG(seq=SEQ, name="b")))
    assert runner.seq == 43
    assert connection.execute("SELECT seq FROM log").fetchall() == [(42,), (43,)]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(unit(ADD(name="a")), id="a value is missing"),
        pytest.param(unit(ADD(name="a", value=1 << 80)), id="no column holds it"),
        pytest.param(unit(ADD(name="\udcff", value=1)), id="it cannot be encoded"),
        pytest.param(unit(ADD(name=object(), value=1)), id="a wrong type"),  # type: ignore[arg-type]
        pytest.param(unit(NAMES(), ADD(name=SEQ, value=1)), id="SEQ elsewhere"),
    ],
)
def test_what_a_unit_does_wrong_is_among_the_errors_that_are_expected(
    connection: sqlite3.Connection, broken: Unit
) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    with pytest.raises(UNIT_ERRORS):
        runner.run(broken)
    assert runner.doing == "add note"
    assert UnitRunner(connection.cursor(), 0).run(note("fine"))


def test_insertions_wait_until_somebody_asks_for_their_table(
    connection: sqlite3.Connection,
) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    runner.run_beside(unit(ADD(name="a", value=1), LOG(seq=SEQ, name="x")))
    assert names(connection) == []
    assert runner.run_beside(Unit((Step(guard=NAMES()),))) == [[("a",)]]
    assert connection.execute("SELECT * FROM log").fetchall() == []
    runner.finish()
    assert connection.execute("SELECT * FROM log").fetchall() == [(1, "x")]


def test_after_a_rollback_nothing_waits_and_the_numbers_go_on_as_before(
    connection: sqlite3.Connection,
) -> None:
    runner = UnitRunner(connection.cursor(), 4)
    runner.run_beside(unit(LOG(seq=SEQ, name="undone")))
    runner.rolled_back(4)
    runner.run(unit(LOG(seq=SEQ, name="kept")))
    assert connection.execute("SELECT * FROM log").fetchall() == [(5, "kept")]


def test_an_insertion_that_waited_fails_by_its_own_name(
    connection: sqlite3.Connection,
) -> None:
    runner = UnitRunner(connection.cursor(), 0)
    runner.run_beside(unit(ADD(name="a", value=1), LOG(seq=SEQ, name="x")))
    runner.run_beside(unit(ADD(name="a", value=2), LOG(seq=SEQ, name="y")))
    with pytest.raises(UNIT_ERRORS):
        runner.finish()
    assert runner.doing == "add note"
