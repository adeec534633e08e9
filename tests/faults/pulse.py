"""How a door is, while something is done to it: its answers' delay and its memory.

The delay is taken by a process of its own (:mod:`pulse_taker`), beside that of a bare
event loop (:mod:`bare_door`): what the machine adds is known, and is not the door's.
"""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_START_S = 240.0
_LOOK_S = 0.004
#: What a door may take for an answer while others are attacked by one connection.
MOST_DELAY_S = 0.050
MOST_MEMORY = 64 << 20


@dataclass(slots=True)
class Pulse:
    """What was measured between entering and leaving :func:`pulse_of`.

    Attributes:
        delays: seconds of each answer of the door.
        bare: of the bare loop, at the same moments.
        memory: octets that the process and its children grew by, at their worst.
    """

    delays: Sequence[float] = ()
    bare: Sequence[float] = ()
    memory: int = 0

    @property
    def p99_s(self) -> float:
        """The 99th percentile of the door's delays."""
        return percentile(self.delays, 0.99)

    @property
    def bare_p99_s(self) -> float:
        """The 99th percentile of the bare loop's delays."""
        return percentile(self.bare, 0.99)

    def is_prompt(self, most_s: float = MOST_DELAY_S) -> bool:
        """Whether the door was in time, less what the machine added."""
        return self.p99_s <= most_s + self.bare_p99_s

    @property
    def is_lean(self) -> bool:
        """Whether its memory stayed within bounds."""
        return self.memory <= MOST_MEMORY


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of ``values`` do not exceed."""
    assert values, "nothing was measured"
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"no {name} of process {pid}")


def _tree(pid: int) -> list[int]:
    """Return ``pid`` and all that it and its children have started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def _forget_peak(pid: int) -> None:
    """Let the kernel measure the peak of the memory anew from now on (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def _memory_of(pid: int, pulse: Pulse) -> Iterator[None]:
    """Measure by how much ``pid`` and its children grow: each alone, and together.

    The kernel keeps the peak of each. That of all together is looked for often.
    """
    base = {}
    for each in _tree(pid):
        _forget_peak(each)
        base[each] = _status(each, "VmRSS")
    whole = sum(base.values())
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            with suppress(OSError, AssertionError):  # one of them has just ended
                now = sum(_status(each, "VmRSS") for each in _tree(pid))
                pulse.memory = max(pulse.memory, now - whole)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    for each in _tree(pid):
        pulse.memory = max(pulse.memory, _status(each, "VmHWM") - base.get(each, 0))


@asynccontextmanager
async def pulse_of(address: tuple[str, int], pid: int) -> AsyncIterator[Pulse]:
    """Measure the door at ``address`` of the process ``pid`` until the end."""
    pulse = Pulse()
    bare = await _start(str(_HERE / "bare_door.py"))
    try:
        port = int(await _line_of(bare))
        doors = (f"{address[0]}:{address[1]}", f"127.0.0.1:{port}")
        taker = await _start(str(_HERE / "pulse_taker.py"), *doors)
        try:
            await _line_of(taker)
            with _memory_of(pid, pulse):
                yield pulse
            said, _ = await asyncio.wait_for(taker.communicate(b""), _START_S)
            pulse.delays, pulse.bare = json.loads(said)
        finally:
            await _end(taker)
    finally:
        await _end(bare)


async def _start(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 << 20,
    )


async def _line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), _START_S)
    assert line, "a helper did not start"
    return line.decode()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
