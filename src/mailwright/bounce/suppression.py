"""Who must not be mailed: a condition that other rooms' statements contain, and the rows.

Checked in the transaction that accepts a delivery, and again in the one that claims it:
nothing can slip in between. A row holds the subject, never the address: what was put in
can be asked about, but not listed as addresses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from mailwright.bounce.tables import suppressions
from mailwright.clock import from_micros, to_micros
from mailwright.ids import StreamId, Subject, TenantId
from mailwright.store.statements import Bound, Query, Row, Value

#: In place of a tenant: everyone's suppression, which operators make.
EVERYONE: Final = TenantId(0)
#: In place of a stream: every stream of the tenant.
EVERY_STREAM: Final = StreamId(0)
#: In place of a tenant in a question: of all of them.
_ANY_TENANT: Final = -1


class Reason(StrEnum):
    """Why an address must not be mailed, as far as people say it."""

    MANUAL = "manual"  # somebody asked for it
    IMPORT = "import"  # it came from another system's list
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose mail a suppression stops.

    Attributes:
        tenant: :data:`EVERYONE` for all of them.
        stream: :data:`EVERY_STREAM` for all of the tenant's.
    """

    tenant: TenantId
    stream: StreamId = EVERY_STREAM


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a suppression is made, by whom, and until when.

    Attributes:
        note: for people; holds no address.
        ends_at: when mail may leave again; ``None``: never by itself.
    """

    reason: str
    author: str
    note: str = ""
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    """A subject that must not be mailed.

    Attributes:
        is_provisional: it may be undone with others of its kind.
    """

    subject: Subject
    scope: Scope
    cause: Cause
    created_at: datetime
    is_provisional: bool = False

    @property
    def place(self) -> "Place":
        """Where it stands in the list of its tenant."""
        return to_micros(self.created_at), self.subject, self.scope.stream


#: Instant in microseconds, subject, stream: the order of a tenant's list.
Place: TypeAlias = tuple[int, bytes, int]
#: Before the first one.
BEGINNING: Final[Place] = (-1, b"", 0)

_row = suppressions.c
_COLUMNS: Final = (
    _row.subject,
    _row.tenant,
    _row.stream,
    _row.reason,
    _row.evidence,
    _row.author,
    _row.is_provisional,
    _row.created_at,
    _row.ends_at,
)
_new = insert(suppressions)
# The first reason stays, unless the row would end earlier or may be undone: whoever asks
# for longer must get it.
_upsert = _new.on_conflict_do_update(
    index_elements=[_row.subject, _row.tenant, _row.stream],
    set_={
        name: _new.excluded[name]
        for name in (
            *("reason", "evidence", "author"),
            *("is_provisional", "created_at", "ends_at"),
        )
    },
    where=or_(
        and_(
            _row.ends_at.is_not(None),
            or_(
                _new.excluded.ends_at.is_(None),
                _new.excluded.ends_at > _row.ends_at,
            ),
        ),
        and_(_row.is_provisional == 1, _new.excluded.is_provisional == 0),
    ),
)
_SUPPRESS: Final = Query("suppress", _upsert)
_SUPPRESS_NEW: Final = Query("suppress, if not yet", _upsert.returning(_row.subject))
_RELEASE: Final = Query(
    "release suppression",
    delete(suppressions)
    .where(_row.subject == bindparam("subject"))
    .where(_row.tenant == bindparam("tenant"))
    .where(_row.stream == bindparam("stream"))
    .returning(*_COLUMNS),
)
_OF_SUBJECT: Final = Query(
    "suppressions of a subject",
    select(*_COLUMNS)
    .where(_row.subject == bindparam("subject"))
    .where(
        or_(
            bindparam("tenant") == literal(_ANY_TENANT),
            _row.tenant.in_([bindparam("tenant"), literal(EVERYONE)]),
        )
    )
    .where(or_(_row.ends_at.is_(None), _row.ends_at > bindparam("now")))
    .order_by(_row.tenant, _row.stream),
)
_OF_TENANT: Final = Query(
    "suppressions of a tenant",
    select(*_COLUMNS)
    .where(_row.tenant == bindparam("tenant"))
    .where(_row.created_at >= bindparam("created_at"))
    .where(
        or_(
            _row.created_at > bindparam("created_at"),
            _row.subject > bindparam("subject"),
            and_(
                _row.subject == bindparam("subject"),
                _row.stream > bindparam("stream"),
            ),
        )
    )
    .where(or_(bindparam("of_stream").is_(None), _row.stream == bindparam("of_stream")))
    .where(or_(bindparam("reason").is_(None), _row.reason == bindparam("reason")))
    .where(or_(_row.ends_at.is_(None), _row.ends_at > bindparam("now")))
    .order_by(_row.created_at, _row.subject, _row.stream)
    .limit(bindparam("most")),
)


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
    zero: ColumnElement[int] = literal_column("0")
    # A sum is in no index. Else SQLite would seek each of four (subject, tenant, stream),
    # and make two temporary tables for that each time; a subject has a row or two.
    of_tenant, of_stream = row.tenant + zero, row.stream + zero
    return exists(literal_column("1")).where(
        row.subject == subject,
        or_(of_tenant == zero, of_tenant == tenant),
        or_(of_stream == zero, of_stream == stream),
        or_(row.ends_at.is_(None), row.ends_at > now),
    )


def suppressed_among(
    subjects: Sequence[ColumnElement[bytes]],
    tenant: ColumnElement[int],
    stream: ColumnElement[int],
    now: ColumnElement[int],
) -> Select[Any]:
    """Return the selection of those of ``subjects`` that must not get mail of a stream.

    By the condition of :func:`is_suppressed`; its rows are (subject, reason, tenant,
    stream), the widest scope of a subject first. Cost: one seek for each subject.
    """
    row = suppressions.c
    return (
        select(row.subject, row.reason, row.tenant, row.stream)
        .where(
            row.subject.in_(subjects),
            or_(row.tenant == 0, row.tenant == tenant),
            or_(row.stream == 0, row.stream == stream),
            or_(row.ends_at.is_(None), row.ends_at > now),
        )
        .order_by(row.subject, row.tenant, row.stream)
    )


def suppress(
    subject: Subject, tenant: TenantId, *, reason: str, author: str, at: datetime
) -> Bound:
    """Return the statement that suppresses ``subject`` on every stream of ``tenant``.

    For good; one that is suppressed already keeps its first reason.
    """
    return _SUPPRESS(**_values(subject, Scope(tenant), Cause(reason, author), at))


def suppress_new(
    subject: Subject, scope: Scope, cause: Cause, *, at: datetime
) -> Bound:
    """Return the statement that suppresses ``subject`` in ``scope``, for a guard.

    It returns a row when it changed something. What is suppressed there already keeps
    its first cause, unless this one lasts longer.
    """
    return _SUPPRESS_NEW(**_values(subject, scope, cause, at))


def _values(
    subject: Subject, scope: Scope, cause: Cause, at: datetime
) -> dict[str, Value]:
    return {
        "subject": subject,
        "tenant": scope.tenant,
        "stream": scope.stream,
        "reason": cause.reason,
        "evidence": cause.note,
        "author": cause.author,
        "is_provisional": 0,
        "created_at": to_micros(at),
        "ends_at": None if cause.ends_at is None else to_micros(cause.ends_at),
    }


def release(subject: Subject, scope: Scope) -> Bound:
    """Return the statement that ends the suppression of exactly ``scope``.

    As a guard it returns the row that was there (:func:`suppression_of`).
    """
    return _RELEASE(subject=subject, tenant=scope.tenant, stream=scope.stream)


def of_subject(subject: Subject, tenant: TenantId | None, *, now: datetime) -> Bound:
    """Return the statement that reads what stops mail to ``subject``.

    Of ``tenant`` and of everyone; with ``None`` of every tenant.
    """
    asked = _ANY_TENANT if tenant is None else tenant
    return _OF_SUBJECT(subject=subject, tenant=asked, now=to_micros(now))


def of_tenant(
    tenant: TenantId,
    *,
    stream: StreamId | None,
    reason: str | None,
    after: Place,
    most: int,
    now: datetime,
) -> Bound:
    """Return the statement that reads a page of a tenant's suppressions, oldest first."""
    created_at, subject, in_stream = after
    return _OF_TENANT(
        tenant=tenant,
        of_stream=stream,
        reason=reason,
        created_at=created_at,
        subject=subject,
        stream=in_stream,
        most=most,
        now=to_micros(now),
    )


def suppression_of(row: Row) -> Suppression:
    """Return what a row of these statements says."""
    subject, tenant, stream, reason, note, author, provisional, created, ends = row
    return Suppression(
        Subject(subject),
        Scope(TenantId(tenant), StreamId(stream)),
        Cause(reason, author, note, None if ends is None else from_micros(ends)),
        from_micros(created),
        bool(provisional),
    )


def suppressions_of(rows: Sequence[Row]) -> list[Suppression]:
    """Return what rows of these statements say."""
    return [suppression_of(row) for row in rows]
