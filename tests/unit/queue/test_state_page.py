"""The page about states is the table of moves, and nothing else moves a delivery."""

import re
from pathlib import Path

import pytest

from mailwright.queue import state_page as page_module
from mailwright.queue.delivery import FINAL, MOVES, SILENT, State
from mailwright.queue.state_page import state_page

PAGE = Path(__file__).parents[3] / "docs/reference/queue-states.md"
_ARROW = re.compile(r"^    (\S+) --> (\w+): (.+)$", re.MULTILINE)


def state_of(name: str) -> State | None:
    return None if name == "[*]" else State[name.upper()]


def test_the_page_in_docs_is_what_the_command_prints() -> None:
    assert PAGE.read_text("utf-8") == state_page(), "run make docs"


def test_the_diagram_has_every_move_and_no_other() -> None:
    drawn = {
        (state_of(start), State[end.upper()], event)
        for start, end, event in _ARROW.findall(state_page())
    }
    moves = {(*move, event.value) for move, event in MOVES.items()}
    assert drawn == moves | {(*move, "no event") for move in SILENT}
    for state in State:
        assert (f"    {state.name.lower()} --> [*]\n" in state_page()) is (
            state in FINAL
        )


def test_a_move_without_words_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**MOVES, (State.BOUNCED, State.QUEUED): MOVES[None, State.QUEUED]}
    monkeypatch.setattr(page_module, "MOVES", more)
    with pytest.raises(KeyError):
        state_page()
