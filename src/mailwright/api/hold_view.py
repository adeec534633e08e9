"""Holds as the API shows them: names for ids, and to tenants what they may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from mailwright.accounts.directory import Directory
from mailwright.ids import Kind, TenantId, format_public
from mailwright.queue.holds import Hold
from mailwright.queue.selection import Selection


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A hold in force.

    Attributes:
        selection: names of what it stops; empty to a tenant whom it does not name.
        reason: empty to a tenant whom it does not name.
        author: `the operator` to every tenant when it is an operator's.
        ends_at: null until somebody releases it.
        cancels: what it stops is being cancelled.
    """

    id: str
    selection: Mapping[str, str]
    reason: str
    author: str
    created_at: datetime
    ends_at: datetime | None
    cancels: bool


def hold_out(hold: Hold, directory: Directory, tenant: TenantId | None) -> HoldOut:
    """Return how ``hold`` is shown to ``tenant``; ``None``: to operators."""
    seen = hold.for_tenant(tenant)
    return HoldOut(
        str(seen.id),
        scope_names(seen.selection, directory),
        seen.reason,
        seen.author,
        seen.created_at,
        seen.ends_at,
        seen.cancels,
    )


def scope_names(selection: Selection, directory: Directory) -> dict[str, str]:
    """Return what ``selection`` names; what the settings do not know is its number."""
    tenant = stream = pool = None
    if selection.tenant is not None:
        tenant = directory.tenants.get(selection.tenant)
    if selection.stream is not None:
        stream = directory.streams.get(selection.stream)
    if selection.pool is not None:
        pool = directory.pools.get(selection.pool)
    shown = {name: str(value) for name, value in selection.to_scope().items()}
    if selection.everything:
        shown["everything"] = "yes"
    for name, thing in (("tenant", tenant), ("stream", stream), ("pool", pool)):
        if thing is not None:
            shown[name] = thing.name
    day = shown.pop("accepted_on", None)
    for name, kind in (("message", Kind.MESSAGE), ("delivery", Kind.DELIVERY)):
        if name in shown and day is not None:
            accepted_on = datetime.combine(date.fromisoformat(day), time(), UTC)
            shown[name] = format_public(kind, accepted_on, int(shown[name]))
    return shown
