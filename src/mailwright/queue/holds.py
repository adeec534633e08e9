"""Holds: stops with a scope, a reason, an author and an end.

A hold is one row, however many lines it stops: lines that come later are stopped too.
A cancellation is a hold as well, until the last of what it takes back is gone; so it acts
at once and goes on after a restart. A hold of a message or of a delivery stops the lines
that were made for it (:mod:`mailwright.queue.parting`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, insert, select, update

from mailwright.clock import from_micros, to_micros
from mailwright.ids import HoldId, TenantId
from mailwright.queue.line import Line
from mailwright.queue.selection import Selection
from mailwright.queue.tables import holds
from mailwright.store.statements import Bound, Query, Row

#: Who a hold's author is to those who may not know.
OPERATOR: Final = "the operator"

_INSERT: Final = Query("insert hold", insert(holds))
#: Ends a hold, if it has not ended.
RELEASE_HOLD: Final = Query(
    "release hold",
    update(holds)
    .where(holds.c.id == bindparam("hold_id"), holds.c.released_at.is_(None))
    .values(released_at=bindparam("now"))
    .returning(holds.c.id),
)
OPEN_HOLDS: Final = Query(
    "open holds",
    select(
        holds.c.id,
        holds.c.scope,
        holds.c.reason,
        holds.c.author,
        holds.c.created_at,
        holds.c.ends_at,
        holds.c.tenant,
    )
    .where(holds.c.released_at.is_(None))
    .order_by(holds.c.id),
)


@dataclass(frozen=True, slots=True)
class Hold:
    """A stop that is in force.

    Attributes:
        cancels: what it stops and was accepted up to ``created_at`` is being cancelled.
        owner: the tenant whose credential made it, and may end it; ``None``: an
            operator's.
    """

    id: HoldId
    selection: Selection
    reason: str
    author: str
    created_at: datetime
    ends_at: datetime | None = None
    cancels: bool = False
    owner: TenantId | None = None

    def stops(self, line: Line, provider: str | None) -> bool:
        """Whether ``line`` waits for its end; ``provider`` is ``None`` if unknown."""
        if self.selection.names_deliveries:
            return line.hold == self.id
        return self.selection.matches(line, provider)

    def for_tenant(self, tenant: TenantId | None) -> "Hold":
        """Return what ``tenant`` may see of it; ``None``: an operator, who sees all.

        A tenant sees everything of its own holds. Of an operator's it sees when it began
        and ends; the reason too, if the hold is for this tenant by name, and nothing
        else: a hold of a provider or of a whole pool is no tenant's business.
        """
        if tenant is None or self.owner == tenant:
            return self
        if self.selection.tenant == tenant:
            return replace(self, author=OPERATOR)
        return replace(self, selection=Selection(), reason="", author=OPERATOR)

    def to_row(self) -> Bound:
        """Return the insertion of its row."""
        scope: dict[str, int | str | bool] = dict(self.selection.to_scope())
        if self.cancels:
            scope["cancels"] = True
        return _INSERT(
            id=self.id,
            tenant=self.owner,
            scope=json.dumps(scope, separators=(",", ":")),
            reason=self.reason,
            author=self.author,
            created_at=to_micros(self.created_at),
            ends_at=None if self.ends_at is None else to_micros(self.ends_at),
            released_at=None,
        )


def hold_of(row: Row) -> Hold:
    """Return the value of a row of :data:`OPEN_HOLDS`."""
    number, text, reason, author, created_at, ends_at, owner = row
    scope = json.loads(text)
    cancels = scope.pop("cancels", False)
    return Hold(
        HoldId(number),
        Selection.from_scope(scope),
        reason,
        author,
        from_micros(created_at),
        None if ends_at is None else from_micros(ends_at),
        cancels,
        None if owner is None else TenantId(owner),
    )


class Holds:
    """The holds in force, in memory. No I/O, no clock."""

    def __init__(self) -> None:
        self._holds: dict[HoldId, Hold] = {}
        self._of_everything: dict[HoldId, Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(list(self._holds.values()))

    def __contains__(self, hold_id: HoldId) -> bool:
        return hold_id in self._holds

    def add(self, hold: Hold) -> None:
        """Take ``hold`` in."""
        self._holds[hold.id] = hold
        if hold.selection.everything:
            self._of_everything[hold.id] = hold

    def remove(self, hold: Hold) -> None:
        """Forget ``hold``."""
        self._holds.pop(hold.id, None)
        self._of_everything.pop(hold.id, None)

    def of_everything(self) -> list[Hold]:
        """Return the holds that stop all mail."""
        return list(self._of_everything.values())

    def stops_everything(self) -> bool:
        """Whether all mail is stopped; the scheduler asks before it begins anything."""
        return bool(self._of_everything)

    def stopping(self, line: Line, provider: str | None) -> list[Hold]:
        """Return the holds that stop ``line``, the oldest first."""
        return [hold for hold in self if hold.stops(line, provider)]

    def stops(self, line: Line, provider: str | None) -> bool:
        """Whether a hold stops ``line`` by what it is; the scheduler asks.

        One of everything is not asked for here: it leaves no mark on a million lines.
        """
        if len(self._holds) == len(self._of_everything):
            return False
        return any(
            hold.stops(line, provider)
            for hold in self._holds.values()
            if not hold.selection.everything
        )

    def named(self) -> list[Hold]:
        """Return those of a message or of a delivery."""
        return [hold for hold in self if hold.selection.names_deliveries]

    def ended(self, now: datetime) -> list[Hold]:
        """Return the holds whose end has come."""
        return [
            hold for hold in self if hold.ends_at is not None and hold.ends_at <= now
        ]
