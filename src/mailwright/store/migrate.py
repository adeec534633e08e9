"""Brings a database to this version's schema, or refuses it by name.

``schema_facts`` says what a database is: its ``version``, and ``min_reader``, the
lowest version of the program's schema that may still use it. Because migrations only
add, a node can run on a schema somewhat newer than its own: that is how a cluster is
upgraded node by node, and how an upgrade is undone.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailwright.store.ports import StoreError

#: The schema that this program makes and knows; migration ``0001`` makes version 1.
SCHEMA_VERSION: Final = 1

_FACTS: Final = "SELECT name, value FROM schema_facts"
_TABLES: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"
_HAS_FACTS: Final = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_facts'"


class ForeignDatabaseError(StoreError):
    """The file is no SQLite database, or one of another program."""


class SchemaTooNewError(StoreError):
    """The database was made for later versions of mailwright."""

    def __init__(self, min_reader: int) -> None:
        super().__init__(
            f"the database needs a mailwright that knows schema {min_reader} or later; "
            f"this one knows {SCHEMA_VERSION}"
        )
        self.min_reader = min_reader


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """What a database says of itself."""

    version: int
    min_reader: int


def check_facts(facts: SchemaFacts) -> None:
    """Refuse a schema that this program does not understand.

    Raises:
        SchemaTooNewError: ``min_reader`` is above :data:`SCHEMA_VERSION`.
    """
    if facts.min_reader > SCHEMA_VERSION:
        raise SchemaTooNewError(facts.min_reader)


def read_facts(connection: sqlite3.Connection) -> SchemaFacts | None:
    """Return what the database says of itself; ``None`` when it is empty.

    Raises:
        ForeignDatabaseError: it holds tables, but not ours.
    """
    try:
        if not connection.execute(_HAS_FACTS).fetchone()[0]:
            if connection.execute(_TABLES).fetchone()[0]:
                raise ForeignDatabaseError("the database belongs to another program")
            return None
        facts = dict(connection.execute(_FACTS).fetchall())
        return SchemaFacts(facts["version"], facts["min_reader"])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise ForeignDatabaseError("the file is not a SQLite database") from error
        raise
    except KeyError as error:
        raise ForeignDatabaseError(f"schema_facts lacks {error}") from error


def migrate(path: Path) -> None:
    """Make or upgrade the database at ``path``; blocks. Nobody else may have it open.

    Every step is one transaction: after a crash the database is at one version.

    Raises:
        ForeignDatabaseError: the file is not ours.
        SchemaTooNewError: it is for later programs.
        sqlite3.Error: it cannot be read or written.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        facts = read_facts(connection)
        if facts is not None:
            check_facts(facts)
            if facts.version >= SCHEMA_VERSION:
                return
        connection.execute("PRAGMA synchronous = FULL")
        _upgrade(connection)


def _upgrade(connection: sqlite3.Connection) -> None:
    # Here, because a start that finds nothing to migrate need not load Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import Connection, create_engine, event  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    def begin(transaction: Connection) -> None:
        # Python's driver begins nothing before a CREATE.
        transaction.exec_driver_sql("BEGIN IMMEDIATE")

    engine = create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool
    )
    event.listen(engine, "begin", begin)
    config = Config()
    config.set_main_option("script_location", "mailwright.store:migrations")
    config.set_main_option("path_separator", "os")
    try:
        with engine.connect() as shared:
            config.attributes["connection"] = shared
            command.upgrade(config, "head")
            shared.commit()
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise
