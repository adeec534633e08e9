"""A node that measures its event loop: ``observed_node.py FILE`` runs ``serve FILE``.

A timer that should fire every few milliseconds tells how late the loop comes to it, by
the clock and by the processor time that the loop's thread took meanwhile. The second is
the node's own doing, whatever else runs on the machine. When the node ends, the figures
are in the file that ``OBSERVED`` names, as JSON.
"""

import asyncio
import gc
import json
import os
import sys
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any, Final

from mailwright.cli.main import main
from mailwright.daemon import lifecycle

BEAT_S: Final = 0.005
#: Bounds of the counts, seconds.
BOUNDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Heart:
    """Beats on the loop, and counts how late each beat is."""

    def __init__(self) -> None:
        self.late = [0] * (len(BOUNDS) + 1)
        self.busy = [0] * (len(BOUNDS) + 1)
        self.late_max_s = self.busy_max_s = 0.0
        #: The longest look for garbage, which stops all threads, by the processor.
        self.garbage_max_s = 0.0
        self._garbage_at = 0.0
        gc.callbacks.append(self._on_garbage)
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._cpu = time.thread_time()

    def beat(self) -> None:
        """Note how late this beat is and what ran since the last; arm the next."""
        now, cpu = self._loop.time(), time.thread_time()
        late_s, busy_s = max(now - self._due, 0.0), cpu - self._cpu
        self.late[bisect_left(BOUNDS, late_s)] += 1
        self.busy[bisect_left(BOUNDS, busy_s)] += 1
        self.late_max_s = max(self.late_max_s, late_s)
        self.busy_max_s = max(self.busy_max_s, busy_s)
        self._cpu = cpu
        self._due = self._loop.time() + BEAT_S
        self._loop.call_at(self._due, self.beat)

    def _on_garbage(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._garbage_at = time.thread_time()
        else:
            took_s = time.thread_time() - self._garbage_at
            self.garbage_max_s = max(self.garbage_max_s, took_s)

    def to_json(self) -> dict[str, Any]:
        """Return the figures: milliseconds, and beats below each bound in seconds."""
        return {
            "beats": sum(self.late),
            "late_max_ms": round(self.late_max_s * 1000, 1),
            "late_p99_ms": _percentile_ms(self.late),
            "busy_max_ms": round(self.busy_max_s * 1000, 1),
            "busy_p99_ms": _percentile_ms(self.busy),
            "garbage_max_ms": round(self.garbage_max_s * 1000, 1),
            "late": dict(zip([*map(str, BOUNDS), "more"], self.late, strict=True)),
            "busy": dict(zip([*map(str, BOUNDS), "more"], self.busy, strict=True)),
        }


def _percentile_ms(counts: list[int], share: float = 0.99) -> float | None:
    """Return the bound below which ``share`` of the beats are; ``None``: above all."""
    left = share * sum(counts)
    for bound, number in zip(BOUNDS, counts, strict=False):
        left -= number
        if left <= 0:
            return bound * 1000
    return None


_run_node = lifecycle.run_node


async def run_node(*args: Any) -> None:
    """Run the node with a heart."""
    heart = Heart()
    heart.beat()
    try:
        await _run_node(*args)
    finally:
        figures = json.dumps(heart.to_json())
        Path(os.environ["OBSERVED"]).write_text(figures)  # noqa: ASYNC240


lifecycle.run_node = run_node
sys.argv.insert(1, "serve")
main()
