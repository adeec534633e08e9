"""Insertions wait for company; nobody sees that they did."""

import sqlite3
from contextlib import closing

import pytest

from mailwright.store.waiting_rows import GROUP, WaitingRows, insertion_of

THINGS = "INSERT INTO things (id, name) VALUES (?, ?)"
NAMED = "INSERT INTO things (name, id) VALUES (?, ?)"
COUNTS = (
    "INSERT INTO counts (id, n) VALUES (?, ?)"
    " ON CONFLICT (id) DO UPDATE SET n = (counts.n + excluded.n)"
)


class Ran:
    """What was run, in a database that takes it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.ran: list[tuple[str, int]] = []
        self.rows = WaitingRows(self.execute)

    def execute(self, name: str, text: str, values: tuple[object, ...]) -> None:
        self.ran.append((name, text.count("(?")))
        self.connection.execute(text, values)

    def add(self, text: str, *rows: tuple[object, ...]) -> None:
        insertion = insertion_of(text)
        assert insertion is not None
        self.rows.add(insertion.table, insertion, rows)  # type: ignore[arg-type]

    def select(self, text: str) -> list[tuple[object, ...]]:
        return self.connection.execute(text).fetchall()


@pytest.fixture
def ran():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name)")
        opened.execute("CREATE TABLE counts (id INTEGER PRIMARY KEY, n)")
        yield Ran(opened)


def test_rows_of_one_table_are_written_together(ran: Ran) -> None:
    for number in range(3):
        ran.add(THINGS, (number, f"n{number}"))
        ran.add(COUNTS, (7, number))
    assert ran.ran == []
    ran.rows.write()
    assert ran.ran == [("things", 3), ("counts", 3)]
    assert ran.select("SELECT * FROM things") == [(0, "n0"), (1, "n1"), (2, "n2")]


def test_a_row_that_is_there_already_counts_for_the_next_one_of_the_same_statement(
    ran: Ran,
) -> None:
    ran.add(COUNTS, (7, 1), (8, 10), (7, 2), (7, 4))
    ran.rows.write()
    assert ran.select("SELECT * FROM counts") == [(7, 7), (8, 10)]


def test_before_a_statement_that_names_a_table_its_rows_are_written_and_no_others(
    ran: Ran,
) -> None:
    ran.add(THINGS, (1, "a"))
    ran.add(COUNTS, (7, 1))
    ran.rows.write_before("SELECT count(*) FROM things")
    assert ran.ran == [("things", 1)]
    ran.rows.write_before("SELECT count(*) FROM things")
    assert ran.ran == [("things", 1)]


def test_two_statements_on_one_table_keep_their_order(ran: Ran) -> None:
    ran.add(THINGS, (1, "a"))
    ran.add(NAMED, ("b", 2))
    assert ran.ran == [("things", 1)]
    ran.add(THINGS, (3, "c"))
    ran.rows.write()
    assert ran.select("SELECT id, name FROM things ORDER BY rowid") == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_a_full_group_does_not_wait(ran: Ran) -> None:
    ran.add(THINGS, *((number, "") for number in range(2 * GROUP + 3)))
    assert ran.ran == [("things", GROUP), ("things", GROUP)]
    ran.rows.write()
    assert ran.ran[2:] == [("things", 3)]
    assert ran.select("SELECT count(*), max(id) FROM things") == [
        (2 * GROUP + 3, 2 * GROUP + 2)
    ]


def test_what_was_rolled_back_is_not_written(ran: Ran) -> None:
    ran.add(THINGS, (1, "a"))
    ran.rows.drop()
    ran.rows.write()
    assert ran.ran == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("UPDATE things SET name = ?", id="no insertion"),
        pytest.param(f"{THINGS} RETURNING id", id="it gives rows"),
        pytest.param(f"{COUNTS} RETURNING n", id="an upsert that gives rows"),
        pytest.param("INSERT INTO things (id) SELECT ?", id="it selects"),
        pytest.param("INSERT INTO things (id) VALUES ((SELECT 1))", id="a subquery"),
        pytest.param(
            "INSERT INTO counts (id, n) VALUES (?, ?) ON CONFLICT (id) DO UPDATE"
            " SET n = (SELECT max(id) FROM things)",
            id="an upsert that looks elsewhere",
        ),
        pytest.param(
            "INSERT INTO counts (id, n) VALUES (?, ?) ON CONFLICT (id) DO UPDATE"
            " SET n = ?",
            id="values behind the row's",
        ),
        pytest.param("INSERT OR IGNORE INTO things (id) VALUES (?)", id="or ignore"),
    ],
)
def test_other_statements_do_not_wait(text: str) -> None:
    assert insertion_of(text) is None
