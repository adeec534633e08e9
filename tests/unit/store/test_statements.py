import pytest
from sqlalchemy import bindparam, delete, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from mailwright.store.ddl import creations
from mailwright.store.sqlite import DIALECT
from mailwright.store.statements import Query
from unit.store.rig import notes

POSTGRESQL = postgresql.psycopg.dialect()


def test_values_that_core_put_in_are_kept_apart_from_the_parameters() -> None:
    query = Query(
        "q",
        select(notes.c.name)
        .where(notes.c.value == 7, notes.c.name == bindparam("which"))
        .limit(3),
    )
    compiled = query.compiled(DIALECT)
    assert "which" not in compiled.fixed
    assert compiled.pick({**compiled.fixed, "which": "x"})[:3] == (7, "x", 3)


def test_a_list_of_in_is_written_out() -> None:
    query = Query(
        "q",
        delete(notes).where(notes.c.value.in_([1, 2]), notes.c.name == bindparam("n")),
    )
    compiled = query.compiled(DIALECT)
    assert compiled.text.count("?") == 3
    assert compiled.pick({**compiled.fixed, "n": "x"}) == (1, 2, "x")


def test_a_parameter_that_comes_twice_is_bound_twice() -> None:
    compiled = Query("q", text("SELECT :a, :b, :a")).compiled(DIALECT)
    assert compiled.pick({"a": 1, "b": 2}) == (1, 2, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_a_missing_parameter_is_named(count: int) -> None:
    marks = ", ".join(f":p{n}" for n in range(count))
    compiled = Query("q", text(f"SELECT {marks}")).compiled(DIALECT)
    with pytest.raises(KeyError, match="p0"):
        compiled.pick({})


def test_insert_without_values_wants_every_column() -> None:
    compiled = Query("q", insert(notes)).compiled(DIALECT)
    assert compiled.names == ("place", "name", "value")
    assert not compiled.fixed


def test_insert_from_select_keeps_its_constants() -> None:
    rows = select(notes.c.place + 100, literal("copy")).where(
        notes.c.name == bindparam("which")
    )
    query = Query("q", insert(notes).from_select(["place", "name"], rows))
    compiled = query.compiled(DIALECT)
    assert compiled.pick({**compiled.fixed, "which": "x"}) == (100, "copy", "x")


def test_a_table_s_creation_has_no_parameters() -> None:
    compiled = Query("q", CreateTable(notes)).compiled(DIALECT)
    assert compiled.text.strip().startswith("CREATE TABLE notes")
    assert compiled.pick({}) == ()


def test_postgresql_gets_its_own_spelling_of_the_same_statement() -> None:
    query = Query(
        "q",
        update(notes)
        .where(notes.c.name == bindparam("which"), notes.c.value.in_([1, 2]))
        .values(value=5)
        .returning(notes.c.name),
    )
    assert query.compiled(DIALECT).text.count("?") == 4
    compiled = query.compiled(POSTGRESQL)
    assert "%(which)s" in compiled.text
    assert sorted(compiled.names) == ["value", "value_1_1", "value_1_2", "which"]
    assert compiled.fixed == {"value": 5, "value_1_1": 1, "value_1_2": 2}


def test_an_upsert_is_written_once_for_both_engines() -> None:
    upsert = postgresql.insert(notes).values(name=bindparam("name"))
    query = Query("q", upsert.on_conflict_do_nothing(index_elements=["name"]))
    for dialect in (DIALECT, POSTGRESQL):
        assert "ON CONFLICT (name) DO NOTHING" in query.compiled(dialect).text


def test_compiling_happens_once_for_an_engine() -> None:
    query = Query("q", select(notes.c.name))
    assert query.compiled(DIALECT) is query.compiled(DIALECT)


def test_no_engine_is_asked_to_number_rows_by_itself() -> None:
    (creation, *_) = creations(notes)
    assert "SERIAL" not in creation.compiled(POSTGRESQL).text
