"""What a start writes: the epoch, the node's row, a block of ids."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mailwright.clock import to_micros
from mailwright.ids import NODE_BITS
from mailwright.store.ports import StoreError
from mailwright.store.tables import days, nodes, schema_facts

#: How many ids are reserved at once.
BLOCK: Final = 1 << 20
#: Node 0 is nobody, so that no id is 0.
_NODES: Final = range(1, 1 << NODE_BITS)

_EPOCH: Final = (
    "UPDATE schema_facts SET value = value + 1 WHERE name = 'epoch' RETURNING value"
)
_FIND: Final = "SELECT id, ids_end, seq FROM nodes WHERE name = ?"
_NEXT: Final = "SELECT coalesce(max(id), 0) + 1 FROM nodes"
_ADD: Final = (
    "INSERT INTO nodes (id, name, epoch, ids_end, seq, started_at) "
    "VALUES (?, ?, ?, ?, 0, ?)"
)
_START: Final = (
    "UPDATE nodes SET epoch = ?, ids_end = ?, started_at = ?, stopped_at = NULL "
    "WHERE id = ?"
)
_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_OWN: Final = frozenset(
    {schema_facts.name, nodes.name, days.name, "alembic_version", "sqlite_sequence"}
)


class TooManyNodesError(StoreError):
    """Every node number is taken."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a node.

    Attributes:
        epoch: the number of this start in the database.
        node: the node's number.
        first_id_counter: the first counter of the block that was reserved.
        seq: the last event number that the node gave.
        is_new: no room has written anything into the database yet.
    """

    epoch: int
    node: int
    first_id_counter: int
    seq: int
    is_new: bool


def record_start(connection: sqlite3.Connection, name: str, *, now: datetime) -> Start:
    """Raise the epoch, write the node's row, reserve ids: one committed transaction.

    Raises:
        TooManyNodesError: no number is left for a node of this name.
        sqlite3.Error: it could not be committed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (epoch,) = connection.execute(_EPOCH).fetchone()
        started_at = to_micros(now)
        row = connection.execute(_FIND, (name,)).fetchone()
        if row is None:
            node, first, seq = _next_node(connection), 1, 0
            connection.execute(_ADD, (node, name, epoch, first + BLOCK, started_at))
        else:
            node, first, seq = row
            connection.execute(_START, (epoch, first + BLOCK, started_at, node))
        is_new = _is_empty(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return Start(epoch, node, first, seq, is_new)


def _next_node(connection: sqlite3.Connection) -> int:
    node: int = connection.execute(_NEXT).fetchone()[0]
    if node not in _NODES:
        raise TooManyNodesError(f"{len(_NODES)} nodes have used this database")
    return node


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether only the store itself has rows; a crash before first settings is new."""
    names = [row[0] for row in connection.execute(_TABLES)]
    return not any(
        connection.execute(
            f'SELECT EXISTS (SELECT 1 FROM "{name}")'  # noqa: S608 our schema's names
        ).fetchone()[0]
        for name in names
        if name not in _OWN
    )
