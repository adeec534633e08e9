"""The states of a delivery, and the only moves between them.

::

    (accepted) ─► queued ─► sending ─► delivered | bounced | expired
         │          ▲          │
         │          └──────────┘  retry, or never offered
         │        queued ─► expired | cancelled | suppressed
         └─► suppressed

Every move writes an event in the same transaction, but two: ``queued → sending``, and
``sending → queued`` of a row that was never offered (its attempt does not count).
"""

from enum import IntEnum
from typing import Final

from mailwright.events.types import EventType


class State(IntEnum):
    """Where a delivery is; the number is what the database keeps."""

    QUEUED = 0  # waits for its time
    SENDING = 1  # a session may have offered it: ambiguous if its epoch is dead
    DELIVERED = 2  # final
    BOUNCED = 3  # final
    EXPIRED = 4  # final
    SUPPRESSED = 5  # final
    CANCELLED = 6  # final


#: Every move that writes an event, with the event.
MOVES: Final[dict[tuple[State | None, State], EventType]] = {
    (None, State.QUEUED): EventType.RECEIVED,
    (None, State.SUPPRESSED): EventType.SUPPRESSED,
    (State.SENDING, State.QUEUED): EventType.DEFERRED,
    (State.SENDING, State.DELIVERED): EventType.DELIVERED,
    (State.SENDING, State.BOUNCED): EventType.BOUNCED,
    (State.SENDING, State.EXPIRED): EventType.EXPIRED,
    (State.QUEUED, State.EXPIRED): EventType.EXPIRED,
    (State.QUEUED, State.CANCELLED): EventType.CANCELLED,
    (State.QUEUED, State.SUPPRESSED): EventType.SUPPRESSED,
}
#: The moves that write none; the second one only of a row that was never offered.
SILENT: Final = frozenset(
    {(State.QUEUED, State.SENDING), (State.SENDING, State.QUEUED)}
)

#: States that end in a day table.
FINAL: Final = frozenset(State) - {State.QUEUED, State.SENDING}
