"""The versions of the shared settings: who changed what, when and why."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select

from mailwright.accounts.changes import Authorship, version_row
from mailwright.accounts.settings.comparison import Change
from mailwright.accounts.settings.document import plain_change, summary_of
from mailwright.accounts.tables import settings_log
from mailwright.clock import from_micros
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound, Query, Row

MAX_VERSIONS: Final = 1000

_columns = settings_log.c
_HEAD: Final = (
    _columns.version,
    _columns.at,
    _columns.author,
    _columns.reason,
    _columns.summary,
)
_BEFORE: Final = Query(
    "settings versions",
    select(*_HEAD)
    .where(_columns.version < bindparam("before"))
    .order_by(_columns.version.desc())
    .limit(bindparam("limit")),
)
_VERSION: Final = Query(
    "a settings version",
    select(*_HEAD, _columns.document).where(_columns.version == bindparam("version")),
)
_NEVER: Final = 2**62


@dataclass(frozen=True, slots=True)
class Version:
    """One change of the settings.

    Attributes:
        summary: what changed, in one line.
    """

    version: int
    at: datetime
    author: str
    reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class VersionInFull:
    """One change of the settings with its document.

    Attributes:
        changes: what it changed; no secrets.
        settings: the whole settings after it, as a setup file says them; ``None`` for a
            change of a fact (a proof) that no file says.
    """

    version: Version
    changes: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] | None


def version_of(
    by: Authorship, changes: Sequence[Change], settings: Mapping[str, Any] | None
) -> Bound:
    """Return the statement that writes the next version."""
    document: dict[str, Any] = {"changes": [plain_change(each) for each in changes]}
    if settings is not None:
        document["settings"] = settings
    return version_row(by, summary_of(changes), document)


async def read_versions(
    store: UnitStore, *, before: int | None = None, limit: int = 100
) -> list[Version]:
    """Return versions below ``before`` (``None``: any), the newest first.

    Raises:
        ValueError: ``limit`` is none of 1 to :data:`MAX_VERSIONS`.
    """
    if not 1 <= limit <= MAX_VERSIONS:
        raise ValueError(f"1 to {MAX_VERSIONS} versions at once")
    last = _NEVER if before is None else before
    [rows] = await store.read(_BEFORE(before=last, limit=limit))
    return [_version(row) for row in rows]


async def read_version(store: UnitStore, version: int) -> VersionInFull | None:
    """Return one version with its document, ``None`` if there is none."""
    [rows] = await store.read(_VERSION(version=version))
    if not rows:
        return None
    *head, text = rows[0]
    document = await asyncio.to_thread(json.loads, text)
    return VersionInFull(
        _version(tuple(head)), document.get("changes", []), document.get("settings")
    )


def _version(row: Row) -> Version:
    version, at, author, reason, summary = row
    return Version(version, from_micros(at), author, reason, summary)
