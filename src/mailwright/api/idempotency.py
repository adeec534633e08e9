"""Making creates repeatable: ``Idempotency-Key`` on what would otherwise happen twice.

A key belongs to a tenant and a concrete path and is kept for 7 days. Its row is written in
the unit that it guards, so either both are there after a crash or neither. The same key
with the same request answers what was answered then; with another request it is 422;
while the first is in progress, 409. Errors are not kept: a repeated request is tried
again.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import Request
from sqlalchemy import bindparam, delete, insert, select, tuple_

from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.api.tables import idempotency
from mailwright.clock import to_micros
from mailwright.ids import TenantId
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound, Query, Step, Unit, Urgency

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
#: What the document says of a create that takes the key.
PARAMETER: Final[Mapping[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "description": "Makes the create repeatable for 7 days: the same key and"
    f" request get the first answer again, with `{REPLAYED_HEADER}: true`",
    "schema": {"type": "string", "maxLength": 255},
}
KEPT: Final = timedelta(days=7)
#: Rows deleted in one unit: well under its 5 ms.
PURGE_ROWS: Final = 500

_KEY: Final = re.compile(r"[!-~]{1,255}")
_columns = idempotency.c
_ident = (_columns.tenant, _columns.path, _columns.key)

_KEEP: Final = Query("keep answer", insert(idempotency))
_FIND: Final = Query(
    "find answer",
    select(_columns.request_hash, _columns.status, _columns.response).where(
        _columns.tenant == bindparam("tenant"),
        _columns.path == bindparam("path"),
        _columns.key == bindparam("key"),
    ),
)
_PURGE: Final = Query(
    "purge answers",
    delete(idempotency)
    .where(
        tuple_(*_ident).in_(
            select(*_ident)
            .where(_columns.created_at < bindparam("before"))
            .limit(bindparam("rows"))
        )
    )
    .returning(_columns.tenant),
)


@dataclass(frozen=True, slots=True)
class Create:
    """A repeatable create as it was asked for.

    Attributes:
        request_hash: SHA-256 of all that decides what is created.
    """

    tenant: TenantId
    path: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What was answered: a status of class 2 and the JSON of the body."""

    status: int
    answer: str


def key_of(request: Request) -> str | None:
    """Return the request's key, or ``None`` when it is not repeatable.

    Raises:
        ProblemError: there is more than one, or it is not 1 to 255 printable characters.
    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise invalid(FieldError(HEADER, "needs 1 to 255 printable ASCII characters"))
    return values[0]


def hash_request(media_type: str, query: str, body: bytes) -> bytes:
    """Return what tells two requests for one path apart."""
    digest = hashlib.sha256()
    for part in (media_type.encode(), query.encode()):
        digest.update(len(part).to_bytes(4))
        digest.update(part)
    digest.update(body)
    return digest.digest()


class Repeats:
    """Remembers creates. Used on one event loop only."""

    def __init__(self, store: UnitStore) -> None:
        self._store = store
        self._running: set[tuple[TenantId, str, str]] = set()

    @contextmanager
    def running(self, create: Create) -> Iterator[None]:
        """Mark ``create`` as in progress.

        Raises:
            ProblemError: it is already.
        """
        ident = (create.tenant, create.path, create.key)
        if ident in self._running:
            raise ProblemError(Kind.IN_PROGRESS, retry_after_s=1)
        self._running.add(ident)
        try:
            yield
        finally:
            self._running.discard(ident)

    async def answer_to(self, create: Create) -> Kept | None:
        """Return what was answered when this was created, or ``None``.

        Raises:
            ProblemError: the key belongs to another request.
        """
        [rows] = await self._store.read(
            _FIND(tenant=create.tenant, path=create.path, key=create.key)
        )
        if not rows:
            return None
        request_hash, status, answer = rows[0]
        if bytes(request_hash) != create.request_hash:
            raise ProblemError(Kind.KEY_REUSED)
        return Kept(status, answer)


def keep(create: Create, status: int, answer: str, now: datetime) -> Sequence[Bound]:
    """Return the statement to run in the unit that creates."""
    return (
        _KEEP(
            tenant=create.tenant,
            path=create.path,
            key=create.key,
            request_hash=create.request_hash,
            status=status,
            response=answer,
            created_at=to_micros(now),
        ),
    )


def purge(now: datetime) -> Unit:
    """Return the unit that deletes a slice of what is older than 7 days.

    The rows of its one step are what it deleted; run it again while there are
    :data:`PURGE_ROWS` of them.
    """
    before = to_micros(now - KEPT)
    return Unit((Step(guard=_PURGE(before=before, rows=PURGE_ROWS)),), Urgency.BULK)
