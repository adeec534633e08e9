"""An event loop on which nobody waits: when nothing is left to do, time jumps.

For code whose only I/O is in memory. Hours of timeouts pass in milliseconds, in order.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from typing_extensions import override

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.jumped_s = 0.0

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer will end it")
        ready = super().select(0)
        if not ready and timeout > 0:
            self.jumped_s += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its :meth:`time` is what the timers that fired add up to, and what work took."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return super().time() + self._jumping.jumped_s


def run_jumping(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a loop of its own."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
