"""Holds: stops with a scope, a reason, an author and an end.

A hold is one row, however many lines it stops: lines that come later are stopped too.
A cancellation is a hold as well, until the last of what it takes back is gone; so it acts
at once and goes on after a restart.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType

from sqlalchemy import bindparam, insert, select, update

from mailwright.clock import from_micros, to_micros
from mailwright.queue.line import Line
from mailwright.queue.selection import Selection
from mailwright.queue.tables import holds
from mailwright.store.statements import Bound, Query, Row

HoldId = NewType("HoldId", int)

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
    )
    .where(holds.c.released_at.is_(None))
    .order_by(holds.c.id),
)


@dataclass(frozen=True, slots=True)
class Hold:
    """A stop that is in force.

    Attributes:
        cancels: what it stops and was accepted up to ``created_at`` is being cancelled.
    """

    id: HoldId
    selection: Selection
    reason: str
    author: str
    created_at: datetime
    ends_at: datetime | None = None
    cancels: bool = False

    def to_row(self) -> Bound:
        """Return the insertion of its row."""
        scope: dict[str, int | str | bool] = dict(self.selection.to_scope())
        if self.cancels:
            scope["cancels"] = True
        return _INSERT(
            id=self.id,
            tenant=self.selection.tenant,
            scope=json.dumps(scope, separators=(",", ":")),
            reason=self.reason,
            author=self.author,
            created_at=to_micros(self.created_at),
            ends_at=None if self.ends_at is None else to_micros(self.ends_at),
            released_at=None,
        )


def hold_of(row: Row) -> Hold:
    """Return the value of a row of :data:`OPEN_HOLDS`."""
    number, text, reason, author, created_at, ends_at = row
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

    def get(self, hold_id: HoldId) -> Hold | None:
        """Return the hold with this id, if it is in force."""
        return self._holds.get(hold_id)

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

    def stopping(self, line: Line, provider: str | None) -> Hold | None:
        """Return a hold that stops ``line``, or ``None``."""
        for hold in self._holds.values():
            if hold.selection.matches(line, provider):
                return hold
        return None

    def stops(self, line: Line, provider: str | None) -> bool:
        """Whether a hold stops ``line`` by what it is; the scheduler asks.

        One of everything is not asked for here: it leaves no mark on a million lines.
        """
        if len(self._holds) == len(self._of_everything):
            return False
        return any(
            hold.selection.matches(line, provider)
            for hold in self._holds.values()
            if not hold.selection.everything
        )

    def ended(self, now: datetime) -> list[Hold]:
        """Return the holds whose end has come."""
        return [
            hold
            for hold in self._holds.values()
            if hold.ends_at is not None and hold.ends_at <= now
        ]
