"""Where the readers of the event log are: one row for each, kept across restarts."""

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from mailwright.events.tables import cursors
from mailwright.store.statements import Query

#: The tenant of a reader that belongs to the node's operator.
OPERATOR: Final = 0

#: The position of a reader, by tenant and name.
SELECT_CURSOR: Final = Query(
    "cursor",
    select(cursors.c.position).where(
        cursors.c.tenant == bindparam("tenant"), cursors.c.name == bindparam("name")
    ),
)

_INSERT = insert(cursors).values(
    tenant=bindparam("tenant"),
    name=bindparam("name"),
    position=bindparam("position"),
    updated_at=bindparam("updated_at"),
)
#: Keep the position of a reader.
KEEP_CURSOR: Final = Query(
    "keep cursor",
    _INSERT.on_conflict_do_update(
        index_elements=[cursors.c.tenant, cursors.c.name],
        set_={
            "position": _INSERT.excluded.position,
            "updated_at": _INSERT.excluded.updated_at,
        },
    ),
)
