"""The page about states of a delivery, written from the table of moves."""

from string import ascii_uppercase
from typing import Final, NamedTuple

from mailwright.events.types import EventType
from mailwright.queue.delivery import FINAL, MOVES, SILENT, State

_HEAD: Final = """\
# States of a delivery

<!-- Written by `mailwright queue states` from the table in src/mailwright/queue/delivery.py;
     do not edit: `make docs` writes it anew. -->

A delivery is one message to one recipient. It is in one state, its row says which, and only the
moves below change it. Each move commits together with its event, so a program that reads
[`GET /v1/events`](http-api.md) sees every one of them, once.

```mermaid
stateDiagram-v2
"""
_MEANINGS: Final = {
    State.QUEUED: "waits in its line: to be due, for a permit, or for the end of a hold",
    State.SENDING: "claimed by a connection; if the node dies now it may have arrived",
    State.DELIVERED: "the receiver said 250 after the final dot",
    State.BOUNCED: "refused for good",
    State.EXPIRED: "its time was over before anybody took it",
    State.SUPPRESSED: "the recipient must not be mailed",
    State.CANCELLED: "taken back by a person or a program",
}
_REASONS: Final[dict[tuple[State | None, State], str]] = {
    (None, State.QUEUED): "the message was accepted",
    (None, State.SUPPRESSED): "the recipient was suppressed when it was accepted",
    (State.SENDING, State.DELIVERED): "the receiver took it",
    (State.SENDING, State.BOUNCED): "a reply that is final",
    (
        State.SENDING,
        State.EXPIRED,
    ): "the connection was lost after the final dot, twice",
    (State.SENDING, State.QUEUED): "to be tried again later",
    (State.QUEUED, State.EXPIRED): "`expires_at` came",
    (State.QUEUED, State.CANCELLED): "`mailwright queue cancel`",
    (State.QUEUED, State.SUPPRESSED): "suppressed while it waited",
}
_SILENT_REASONS: Final[dict[tuple[State | None, State], str]] = {
    (State.QUEUED, State.SENDING): "claimed, before a single octet leaves",
    (State.SENDING, State.QUEUED): "never offered: the attempt does not count",
}


class _Move(NamedTuple):
    """A row of the table; ``start`` is ``None`` at acceptance."""

    start: State | None
    end: State
    event: EventType | None
    reason: str


def state_page() -> str:
    """Return the page, in Markdown.

    Raises:
        KeyError: a state or a move has no words here.
    """
    moves = sorted(_moves(), key=_order)
    lines = [
        *(
            f"    {_node(each.start)} --> {_node(each.end)}: {_label(each)}"
            for each in moves
        ),
        *(f"    {_node(state)} --> [*]" for state in State if state in FINAL),
        "```",
        "",
        "| state | meaning | final |",
        "|---|---|---|",
        *(_state_row(state) for state in State),
        "",
        "| | from | to | event | when |",
        "|---|---|---|---|---|",
        *map(_move_row, ascii_uppercase, moves),
        "",
        "What is final leaves the queue: its row moves to the table of the day on which it was",
        "accepted, and retention drops that. Only two moves write no event: a claim, and the",
        "return of what was claimed and never offered.",
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _moves() -> list[_Move]:
    told = [
        _Move(start, end, event, _REASONS[start, end])
        for (start, end), event in MOVES.items()
    ]
    silent = [
        _Move(start, end, None, _SILENT_REASONS[start, end]) for start, end in SILENT
    ]
    return told + silent


def _order(move: _Move) -> tuple[int, int, bool]:
    start = -1 if move.start is None else int(move.start)
    return start, int(move.end), move.event is None


def _node(state: State | None) -> str:
    return "[*]" if state is None else state.name.lower()


def _label(move: _Move) -> str:
    return "no event" if move.event is None else move.event.value


def _state_row(state: State) -> str:
    is_final = "yes" if state in FINAL else ""
    return f"| `{_node(state)}` | {_MEANINGS[state]} | {is_final} |"


def _move_row(letter: str, move: _Move) -> str:
    start = "accepted" if move.start is None else f"`{_node(move.start)}`"
    event = "none" if move.event is None else f"`{move.event}`"
    return f"| {letter} | {start} | `{_node(move.end)}` | {event} | {move.reason} |"
