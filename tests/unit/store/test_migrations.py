"""The migrated schema is what the rooms' tables say, on both engines."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

from mailwright.accounts import tables as accounts
from mailwright.api import tables as api
from mailwright.bounce import tables as bounce
from mailwright.events import tables as events
from mailwright.mta import tables as mta
from mailwright.queue import tables as queue
from mailwright.queue.campaign import tables as campaign
from mailwright.reputation import tables as reputation
from mailwright.store import migrate as migrate_module
from mailwright.store import tables as store
from mailwright.store.ddl import creations
from mailwright.store.migrate import (
    SCHEMA_VERSION,
    ForeignDatabaseError,
    SchemaTooNewError,
    migrate,
)
from mailwright.store.migrations import scripts
from mailwright.store.sqlite import DIALECT

POSTGRESQL = postgresql.dialect()
ROOMS = (store, accounts, queue, campaign, events, bounce, mta, reputation, api)
TABLES = [table for room in ROOMS for table in room.metadata.tables.values()]
NAMES = [table.name for table in TABLES]


def test_the_rooms_have_tables_to_compare() -> None:
    assert {"nodes", "deliveries", "suppressions", "cursors", "idempotency"} <= {*NAMES}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "mailwright.db"
    migrate(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database made from the rooms' tables."""
    path = tmp_path_factory.mktemp("made") / "mailwright.db"
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            for query in creations(table):
                connection.execute(query.compiled(DIALECT).text)
    return path


def readable(value: Any) -> Any:
    """Conditions of partial indexes compare by their text."""
    if isinstance(value, dict):
        return {key: str(inner) for key, inner in value.items()}
    return value


def shape(path: Path, table: str) -> dict[str, Any]:
    """All that inspection tells of a table."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        found = inspect(engine)
        columns = [
            {**column, "type": str(column["type"])}
            for column in found.get_columns(table)
        ]
        return {
            "columns": columns,
            "key": found.get_pk_constraint(table),
            "unique": found.get_unique_constraints(table),
            "indexes": [
                {key: readable(value) for key, value in index.items()}
                for index in found.get_indexes(table)
            ],
            "options": found.get_table_options(table),
        }
    finally:
        engine.dispose()


@pytest.mark.parametrize("name", NAMES)
def test_a_migrated_table_is_as_its_room_says(
    migrated: Path, made: Path, name: str
) -> None:
    assert shape(migrated, name) == shape(made, name)


def test_the_comparison_sees_a_difference_in_a_partial_index(
    made: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    with (
        closing(sqlite3.connect(made)) as source,
        closing(sqlite3.connect(other)) as target,
    ):
        source.backup(target)
        target.execute("DROP INDEX deliveries_sending")
        target.execute(
            "CREATE INDEX deliveries_sending ON deliveries (epoch) WHERE state = 2"
        )
    assert shape(other, "deliveries") != shape(made, "deliveries")


def test_migrating_makes_no_table_that_no_room_has(migrated: Path) -> None:
    with closing(sqlite3.connect(migrated)) as connection:
        found = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table'"
            )
        }
    assert found == {*NAMES, "alembic_version"}


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize("dialect", [DIALECT, POSTGRESQL], ids=lambda one: one.name)
def test_an_engine_s_script_says_what_the_rooms_tables_say(dialect: Dialect) -> None:
    kept = [
        plain(statement)
        for statement in scripts.statements(
            scripts.read_script("0001_first", dialect.name)
        )
    ]
    wanted = [
        plain(query.compiled(dialect).text)
        for table in TABLES
        for query in creations(table)
    ]
    facts = [line for line in kept if line.startswith("INSERT INTO schema_facts")]
    assert len(facts) == 3
    assert sorted(kept) == sorted(wanted + facts)


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_postgresql_keeps_instants_and_ids_in_64_bits(table: Table) -> None:
    text = creations(table)[0].compiled(POSTGRESQL).text
    assert not re.search(r"\bINTEGER\b|SERIAL", text)


def facts_of(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, value FROM schema_facts"))


def test_a_database_says_what_it_is(migrated: Path) -> None:
    assert facts_of(migrated) == {
        "version": SCHEMA_VERSION,
        "min_reader": 1,
        "epoch": 0,
    }
    with closing(sqlite3.connect(migrated)) as connection:
        versions = connection.execute("SELECT version_num FROM alembic_version")
        assert versions.fetchall() == [(f"{SCHEMA_VERSION:04}",)]


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate(path)
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def set_fact(path: Path, name: str, value: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE schema_facts SET value = ? WHERE name = ?", (value, name)
        )


def test_a_schema_for_later_programs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate(path)
    set_fact(path, "min_reader", SCHEMA_VERSION + 1)
    with pytest.raises(SchemaTooNewError, match="needs a mailwright") as caught:
        migrate(path)
    assert caught.value.min_reader == SCHEMA_VERSION + 1


def test_a_newer_schema_that_we_may_still_read_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate(path)
    set_fact(path, "version", SCHEMA_VERSION + 1)
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_files_that_are_not_ours_are_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"no database at all" * 100)
    foreign = tmp_path / "foreign"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    for path in (text, foreign):
        before = path.read_bytes()
        with pytest.raises(ForeignDatabaseError):
            migrate(path)
        assert path.read_bytes() == before


def test_facts_that_lack_something_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM schema_facts WHERE name = 'min_reader'")
    with pytest.raises(ForeignDatabaseError, match="min_reader"):
        migrate(path)


def test_a_migration_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    read = scripts.read_script

    def broken(name: str, engine: str) -> str:
        return read(name, engine) + "\nCREATE TABLE nodes (again INTEGER);\n"

    with monkeypatch.context() as patch:
        patch.setattr(scripts, "read_script", broken)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (
            0,
        )
    migrate(path)  # the next start makes it whole
    assert facts_of(path)["version"] == SCHEMA_VERSION


def test_a_start_that_has_nothing_to_migrate_does_not_run_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    migrate(path)

    def refuse(connection: sqlite3.Connection) -> None:
        raise AssertionError

    monkeypatch.setattr(migrate_module, "_upgrade", refuse)
    migrate(path)


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        ("-- only a remark;\n", []),
        ("A;\nB;\n", ["A", "B"]),
        ("A\n  b;\n-- remark;\nC", ["A\n  b", "C"]),
        ("SELECT ';';\n", ["SELECT ';'"]),
    ],
)
def test_a_script_is_cut_at_semicolons_that_end_a_line(
    script: str, statements: list[str]
) -> None:
    assert scripts.statements(script) == statements


def test_no_statement_on_one_table_touches_another(tmp_path: Path) -> None:
    """Else insertions could not wait for each other (:mod:`store.waiting_rows`)."""
    migrate(tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        schema = connection.execute("SELECT type, sql FROM sqlite_master").fetchall()
    assert {kind for kind, _ in schema} == {"table", "index"}
    assert not [sql for _, sql in schema if sql and "REFERENCES" in sql.upper()]
