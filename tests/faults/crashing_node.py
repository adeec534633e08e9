"""A node that kills itself at a named point: ``crashing_node.py POINT N FILE``.

It is the node as it is, but for the N-th passage of the point, which is its last. The
product has no such switch: the points are found from outside.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from mailwright.attempt import End
from mailwright.cli.main import main
from mailwright.queue.settlement import Settlement
from mailwright.store.turns import Turns

BEFORE_COMMIT, AFTER_COMMIT, BEFORE_SETTLE = POINTS = (
    "before-commit",
    "after-commit",
    "before-settle",
)


def _passage(number: int) -> Callable[[], None]:
    passages = count(1)

    def pass_by() -> None:
        if next(passages) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return pass_by


def _holds_an_accept(turns: Turns) -> bool:
    return any(
        bound[0].name == "insert message"
        for submitted in turns.taken
        for step in submitted.unit.steps
        for bound in step.then
    )


def _crash_around_commit(pass_by: Callable[[], None], *, is_before: bool) -> None:
    commit = Turns._commit

    def crashing(self: Turns, seq: int) -> None:
        is_accept = _holds_an_accept(self)
        if is_before and is_accept:
            pass_by()
        commit(self, seq)
        if not is_before and is_accept:
            pass_by()

    Turns._commit = crashing  # type: ignore[method-assign]


def _crash_before_settle(pass_by: Callable[[], None]) -> None:
    settle = Settlement.settle

    def crashing(self: Settlement, claimed: Any, attempt: Any, **others: Any) -> None:
        if attempt.end is End.REPLIED and attempt.reply.code == 250:
            pass_by()
        settle(self, claimed, attempt, **others)

    Settlement.settle = crashing  # type: ignore[method-assign]


if __name__ == "__main__":
    point, number = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    if point == BEFORE_SETTLE:
        _crash_before_settle(_passage(number))
    else:
        _crash_around_commit(_passage(number), is_before=point == BEFORE_COMMIT)
    sys.argv.insert(1, "serve")
    main()
