"""What a copy of the database holds of the queue, and what it may send again.

A copy knows nothing of what happened after it was made: whatever it calls queued or
sending may have arrived since. Values for people, before they let it go.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import func, literal_column, select

from mailwright.accounts.directory import Directory
from mailwright.clock import from_micros
from mailwright.ids import StreamId, TenantId
from mailwright.queue.delivery import State
from mailwright.queue.tables import contents, deliveries, lines, messages
from mailwright.store.statements import Query, Row

_DAY_MICROS: Final = timedelta(days=1) // timedelta(microseconds=1)
#: Both engines divide whole numbers to whole numbers.
_day: Final = deliveries.c.accepted_at.op("/")(literal_column(str(_DAY_MICROS)))

#: The files of bodies that rows name.
BODY_NAMES: Final = Query(
    "body names",
    select(contents.c.body_file).where(contents.c.body_file.is_not(None)),
)
#: Rows, by what they are.
COUNTS: Final[Mapping[str, Query]] = {
    name: Query(f"count {name}", select(func.count()).select_from(table))
    for name, table in (
        ("messages", messages),
        ("contents", contents),
        ("lines", lines),
        ("deliveries", deliveries),
    )
}
#: What is not final, by tenant, stream, day of acceptance and state.
NOT_FINAL: Final = Query(
    "not final",
    select(
        deliveries.c.tenant,
        deliveries.c.stream,
        _day,
        deliveries.c.state,
        func.count(),
    ).group_by(deliveries.c.tenant, deliveries.c.stream, _day, deliveries.c.state),
)


@dataclass(slots=True)
class Again:
    """What a copy may send again, of one stream and one day of acceptance.

    Attributes:
        deliveries: that are not final in the copy.
        under_way: of these, in a session when the copy was made: they are tried again
            from the same source with the same octets.
    """

    tenant: str
    stream: str
    day: date
    deliveries: int = 0
    under_way: int = 0


def again_of(rows: Iterable[Row], directory: Directory) -> Sequence[Again]:
    """Return the values of rows of :data:`NOT_FINAL`, by name and day."""
    found: dict[tuple[int, int, int], Again] = {}
    for tenant, stream, day, state, count in rows:
        each = found.get((tenant, stream, day))
        if each is None:
            each = found[tenant, stream, day] = Again(
                _name(directory.tenants.get(TenantId(tenant))),
                _name(directory.streams.get(StreamId(stream))),
                from_micros(day * _DAY_MICROS).date(),
            )
        each.deliveries += count
        each.under_way += count if state == State.SENDING else 0
    return sorted(found.values(), key=lambda each: (each.tenant, each.stream, each.day))


def _name(thing: object) -> str:
    return str(getattr(thing, "name", ""))
