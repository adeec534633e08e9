"""Who must not be mailed, as a condition that other rooms' statements contain.

Checked where a delivery is accepted and again where it is claimed, in the very
statement that moves it: nothing can slip in between.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, exists, literal, or_
from sqlalchemy.dialects.postgresql import insert

from mailwright.bounce.tables import suppressions
from mailwright.clock import to_micros
from mailwright.ids import Subject, TenantId
from mailwright.store.statements import Bound, Query

_INSERT: Final = Query("suppress", insert(suppressions).on_conflict_do_nothing())


def is_suppressed(
    subject: ColumnElement[bytes],
    tenant: ColumnElement[int],
    stream: ColumnElement[int],
    now: ColumnElement[int],
) -> ColumnElement[bool]:
    """Return the condition that a subject must not get mail of this stream.

    Tenant 0 is everyone's suppression, stream 0 every stream's. Cost: one seek in the
    primary key (subject first).
    """
    row = suppressions.c
    return exists(literal(1)).where(
        row.subject == subject,
        or_(row.tenant == 0, row.tenant == tenant),
        or_(row.stream == 0, row.stream == stream),
        or_(row.ends_at.is_(None), row.ends_at > now),
    )


def suppress(
    subject: Subject, tenant: TenantId, *, reason: str, author: str, at: datetime
) -> Bound:
    """Return the statement that suppresses ``subject`` on every stream of ``tenant``.

    For good; one that is suppressed already keeps its first reason.
    """
    return _INSERT(
        subject=subject,
        tenant=tenant,
        stream=0,
        reason=reason,
        evidence="",
        author=author,
        is_provisional=0,
        created_at=to_micros(at),
        ends_at=None,
    )
