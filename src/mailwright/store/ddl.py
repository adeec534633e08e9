"""The text that makes a table, for one engine."""

from sqlalchemy import MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from mailwright.store.statements import Bound, Query


def plain(table: Table) -> Table:
    """Return a copy of ``table`` whose key is never made by the engine.

    Our ids come from blocks that the node reserved; PostgreSQL would otherwise be told
    to keep a sequence for every numeric key.
    """
    copy = table.to_metadata(MetaData())
    for column in copy.primary_key.columns:
        column.autoincrement = False
    return copy


def creations(table: Table, *, if_not_exists: bool = False) -> list[Query]:
    """Return the statements that make ``table`` and its indexes."""
    copy = plain(table)
    indexes = sorted(copy.indexes, key=lambda index: str(index.name))
    return [
        Query(
            f"create {copy.name}",
            CreateTable(copy, if_not_exists=if_not_exists),
        ),
        *(
            Query(
                f"create {index.name}",
                CreateIndex(index, if_not_exists=if_not_exists),
            )
            for index in indexes
        ),
    ]


def dropping(table: Table) -> Bound:
    """Return the statement that drops ``table``, with its indexes, if it is there."""
    return Query(f"drop {table.name}", DropTable(table, if_exists=True))()
