"""What a pull costs: the claim that a connection makes, on a database at rest.

Only the statement is timed. The commit that follows it, shared with whatever else waits,
costs the same however long the queue is.
"""

import sqlite3
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mailwright.bounce import suppression
from mailwright.queue.statements import queue_statements
from mailwright.store.sqlite import DIALECT

#: Deliveries of a pull: what a connection asks for.
WANT: Final = 8
_CLAIM: Final = queue_statements(suppression).claim.compiled(DIALECT)


@dataclass(slots=True)
class Times:
    """Milliseconds of many pulls, by the clock and by the processor.

    The second is what the statement itself takes, whatever else runs on the machine.
    """

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def add(self, wall_s: float, cpu_s: float) -> None:
        """Note one pull."""
        self.wall_ms.append(wall_s * 1000)
        self.cpu_ms.append(cpu_s * 1000)

    def percentiles(self) -> dict[str, float]:
        """Return the ones that people look at."""
        return {
            f"{name}_p{share}": round(percentile(values, share), 3)
            for name, values in (("wall", self.wall_ms), ("cpu", self.cpu_ms))
            for share in (50, 99)
        }


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value below which ``share`` percent of ``values`` are."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def time_pull(connection: sqlite3.Connection, line: int, now: int, to: Times) -> int:
    """Claim of ``line`` what is due at ``now`` and roll back; return how many rows."""
    values = {
        **_CLAIM.fixed,
        "line_id": line,
        "now": now,
        "expired_by": 0,
        "want": WANT,
        "my_epoch": 1,
        "my_source": 1,
    }
    connection.execute("BEGIN IMMEDIATE")
    try:
        wall, cpu = time.perf_counter(), time.thread_time()
        rows = connection.execute(_CLAIM.text, _CLAIM.pick(values)).fetchall()
        to.add(time.perf_counter() - wall, time.thread_time() - cpu)
    finally:
        connection.execute("ROLLBACK")
    return len(rows)
