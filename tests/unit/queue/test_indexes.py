"""The queue's large tables are read by their indexes, never from end to end."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mailwright.clock import to_micros
from mailwright.queue import expiry, retention
from mailwright.queue.line import NOTHING_DUE
from mailwright.queue.tables import NEVER_EXPIRES
from mailwright.store.migrate import migrate
from mailwright.store.sqlite import DIALECT
from mailwright.store.statements import Query


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (expiry._EXPIRED, "deliveries_expiry"),
        (retention._FINAL_CONTENTS, "messages_accepted"),
        (retention._FINAL_MESSAGES, "messages_accepted"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.name,
)
def test_a_partial_index_is_used(tmp_path: Path, query: Query, index: str) -> None:
    migrate(tmp_path / "db")
    compiled = query.compiled(DIALECT)
    values = {**dict.fromkeys(compiled.names, 0), **compiled.fixed}
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {compiled.text}", compiled.pick(values)
        ).fetchall()
    assert any(f"USING INDEX {index} " in row[3] + " " for row in plan), plan


def test_what_never_expires_is_later_than_any_time() -> None:
    assert to_micros(NOTHING_DUE) == NEVER_EXPIRES
