"""Who of many must not be mailed: read by batches, for the seal of a campaign."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam

from mailwright.clock import to_micros
from mailwright.ids import StreamId, TenantId
from mailwright.queue.campaign.ports import SuppressedRows
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Query

#: Subjects of one statement.
WIDTH: Final = 250


def suppressed_query(rows: SuppressedRows) -> Query:
    """Return the statement that :func:`suppressed_among` asks; make it once."""
    subjects: list[ColumnElement[bytes]] = [
        bindparam(f"subject_{number}") for number in range(WIDTH)
    ]
    tenant: ColumnElement[int] = bindparam("tenant")
    stream: ColumnElement[int] = bindparam("stream")
    now: ColumnElement[int] = bindparam("now")
    return Query(
        "suppressed among", rows.suppressed_among(subjects, tenant, stream, now)
    )


async def suppressed_among(
    store: UnitStore,
    query: Query,
    subjects: Sequence[bytes],
    tenant: TenantId,
    stream: StreamId,
    now: datetime,
) -> dict[bytes, str]:
    """Return reason and scope of each of ``subjects`` that is suppressed.

    Raises:
        StoreError: they cannot be read.
    """
    found: dict[bytes, str] = {}
    for start in range(0, len(subjects), WIDTH):
        some = subjects[start : start + WIDTH]
        values = {
            f"subject_{number}": some[min(number, len(some) - 1)]
            for number in range(WIDTH)
        }
        (answers,) = await store.read(
            query(tenant=tenant, stream=stream, now=to_micros(now), **values)
        )
        for subject, reason, of_tenant, of_stream in answers:
            found.setdefault(
                bytes(subject), f"{reason}, {_scope(of_tenant, of_stream)}"
            )
    return found


def _scope(tenant: int, stream: int) -> str:
    if tenant == 0:
        return "everyone"
    return "every stream" if stream == 0 else "this stream"
