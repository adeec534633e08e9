"""``kill -9`` of the process that leads sessions, while its node goes on.

Control: a node that takes what the dead one had in hand for delivered.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from fakes.node_process import SERVE, NodeProcess
from faults.kill import NamedTrial, row_of
from faults.ledger import Row, Size
from scenario.crashing import PACE_S, Kill, Ledger, trial

_CONTROL = (str(Path(__file__).with_name("presuming_node.py")),)
_PATIENCE_S = 300.0
_TICK_S = 0.02
_CLIENTS = 4
#: Processes that die young are replaced later and later: after ten, 30 s later.
_KILLS_OF_A_LIFE = 6


class SessionTrial(NamedTrial):
    """One life of a node, in which it loses its processes of sessions again and again."""

    async def live(self, kills: int) -> None:
        """Submit by both doors until that many were killed, each amid deliveries."""
        async with self._node(self.command) as node:
            pace: deque[tuple[float, int]] = deque(maxlen=int(PACE_S / _TICK_S))
            open_most: deque[int] = deque([0], maxlen=int(PACE_S / _TICK_S))
            async with asyncio.TaskGroup() as tasks:
                clients = [
                    tasks.create_task(submit(node))
                    for submit in (self._submit_smtp, self._submit_http)
                    for _ in range(_CLIENTS)
                ]
                watch = tasks.create_task(self._watch_both(pace, open_most))
                async with asyncio.timeout(_PATIENCE_S):
                    for _ in range(kills):
                        more = self.rng.randint(1, 400)
                        arrived = self.net.inbox.totals.copies
                        await self.net.inbox.wait_copies(arrived + more)
                        (since, before), (until, after) = pace[0], pace[-1]
                        rate = (after - before) / max(until - since, _TICK_S)
                        await self._kill_sessions(node, max(open_most), rate)
                for each in (watch, *clients):
                    each.cancel()
            assert await node.stop() == 0, node.text

    async def _kill_sessions(
        self, node: NodeProcess, connections: int, rate: float
    ) -> None:
        killed = children(node.pid)
        assert killed, "it leads its sessions itself"
        for child in killed:
            os.kill(child, signal.SIGKILL)
        # What was written still arrives. The next one takes longer to start.
        while self._open():
            await asyncio.sleep(_TICK_S / 10)
        self.kills.append(Kill(connections, rate, len(self.net.inbox.letters)))


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in tasks for child in each.read_text().split()]


async def _ledger(
    folder: Path, kills: int, seed: int, command: Sequence[str] = SERVE
) -> Ledger:
    async with trial(folder, seed=seed, command=command) as plain:
        series = SessionTrial(plain.settings, plain.net, plain.command, plain.rng)
        for start in range(0, kills, _KILLS_OF_A_LIFE):
            await series.live(min(_KILLS_OF_A_LIFE, kills - start))
        return series.ledger(await series.drain())


def _made(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    return place


async def run(folder: Path, size: Size) -> Row:
    """Kill at random under load; then let the control lose what it takes too lightly."""
    ledger = await _ledger(_made(folder, "node"), size.pick(6, 100), 5)
    control = await _ledger(_made(folder, "control"), size.pick(6, 12), 6, _CONTROL)
    return row_of("kill -9, sessions", ledger, bool(control.lost))
