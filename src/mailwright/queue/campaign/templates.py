"""Templates: contents under a name, in versions that never change."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, insert, or_, select

from mailwright.clock import Clock, from_micros, to_micros
from mailwright.ids import TenantId
from mailwright.queue.campaign.results import MAX_PAGE, Page
from mailwright.queue.campaign.storing import StoredContents
from mailwright.queue.campaign.tables import templates
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound, Query, Row, Step, Unit

_c = templates.c
_COLUMNS: Final = (_c.name, _c.version, _c.created_at, _c.author, _c.note, _c.content)
_INSERT: Final = Query("insert template", insert(templates))
_newest = (
    select(func.max(_c.version))
    .where(_c.tenant == bindparam("tenant"), _c.name == bindparam("name"))
    .scalar_subquery()
)
_ONE: Final = Query(
    "one template",
    select(*_COLUMNS).where(
        _c.tenant == bindparam("tenant"),
        _c.name == bindparam("name"),
        or_(
            _c.version == bindparam("version"),
            (bindparam("version") == 0) & (_c.version == _newest),
        ),
    ),
)
_VERSIONS: Final = Query(
    "versions of template",
    select(*_COLUMNS)
    .where(_c.tenant == bindparam("tenant"), _c.name == bindparam("name"))
    .order_by(_c.version.desc())
    .limit(bindparam("page")),
)


def _newest_of_each() -> Select[Any]:
    newest = (
        select(_c.name, func.max(_c.version).label("version"))
        .where(_c.tenant == bindparam("tenant"), _c.name > bindparam("after"))
        .group_by(_c.name)
        .order_by(_c.name)
        .limit(bindparam("page"))
        .subquery("newest")
    )
    return (
        select(*_COLUMNS)
        .select_from(
            newest.join(
                templates,
                (_c.tenant == bindparam("tenant"))
                & (_c.name == newest.c.name)
                & (_c.version == newest.c.version),
            )
        )
        .order_by(_c.name)
    )


_LIST: Final = Query("templates of tenant", _newest_of_each())


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """One version of a template.

    Attributes:
        version: from 1.
        content: JSON octets; empty where only the record was asked for.
    """

    name: str
    version: int
    created_at: datetime
    author: str
    note: str
    content: bytes = b""


class Templates:
    """The templates of all tenants; every question names the one who asks."""

    def __init__(
        self,
        store: UnitStore,
        next_id: Callable[[], int],
        clock: Clock,
        contents: StoredContents,
    ) -> None:
        self._store = store
        self._next_id = next_id
        self._clock = clock
        self._contents = contents
        # This node is the only writer: one at a time gives each its own version.
        self._numbering = asyncio.Lock()

    async def create(
        self,
        tenant: TenantId,
        name: str,
        content: bytes,
        *,
        author: str,
        note: str = "",
        guards: Callable[[TemplateRecord], Sequence[Bound]] | None = None,
    ) -> TemplateRecord:
        """Store the next version of ``name``; durable on return.

        Raises:
            StoreConflictError: a guard's key is there already; nothing is stored.
            StoreError: nothing is stored.
        """
        at, number = self._clock.now(), self._next_id()
        stored = await self._contents.insertion(number, content, at)
        async with self._numbering:
            (rows,) = await self._store.read(_ONE(tenant=tenant, name=name, version=0))
            version = rows[0][1] + 1 if rows else 1
            record = TemplateRecord(name, version, at, author, note, content)
            row = _INSERT(
                id=self._next_id(),
                tenant=tenant,
                name=name,
                version=version,
                content=number,
                created_at=to_micros(at),
                author=author,
                note=note,
            )
            then = (stored, row, *(guards(record) if guards else ()))
            await self._store.run(Unit((Step(then=then),), grows=True))
        return record

    async def get(
        self, tenant: TenantId, name: str, version: int | None = None
    ) -> TemplateRecord | None:
        """Return a version with its content, the newest if none is named.

        Raises:
            StoreError: it cannot be read.
        """
        if version is not None and not 0 < version < 1 << 62:
            return None
        (rows,) = await self._store.read(
            _ONE(tenant=tenant, name=name, version=version or 0)
        )
        if not rows:
            return None
        body = await self._contents.read(rows[0][-1])
        return None if body is None else replace(_record_of(rows[0]), content=body)

    async def list(
        self, tenant: TenantId, after: str = "", limit: int = MAX_PAGE
    ) -> Page[TemplateRecord]:
        """Return the newest version of each template behind the name ``after``.

        Raises:
            StoreError: they cannot be read.
        """
        limit = min(limit, MAX_PAGE)
        (rows,) = await self._store.read(_LIST(tenant=tenant, after=after, page=limit))
        records = [_record_of(row) for row in rows]
        return Page(records, records[-1].name if len(records) == limit else None)

    async def versions(self, tenant: TenantId, name: str) -> Sequence[TemplateRecord]:
        """Return the last versions of ``name``, the newest first; none: no such name.

        Raises:
            StoreError: they cannot be read.
        """
        (rows,) = await self._store.read(
            _VERSIONS(tenant=tenant, name=name, page=MAX_PAGE)
        )
        return [_record_of(row) for row in rows]


def _record_of(row: Row) -> TemplateRecord:
    name, version, created_at, author, note, _content = row
    return TemplateRecord(name, version, from_micros(created_at), author, note)
