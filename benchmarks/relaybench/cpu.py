"""Who used the processors, read from /proc. Source: proc(5)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of processor time."""

    user: float = 0.0
    system: float = 0.0

    def __add__(self, other: Self) -> "Cpu":
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system


def stat_fields(text: str) -> list[str]:
    """Return the fields of a ``/proc/…/stat`` line that follow the name.

    The name stands in parentheses and may hold any character, parentheses too; the
    first field after it is the state.
    """
    return text[text.rindex(")") + 2 :].split()


def used_by(roots: Iterable[int]) -> Cpu:
    """Return what these processes, all below them and their dead children used."""
    parents: dict[int, int] = {}
    used: dict[int, Cpu] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat_fields(path.read_text())
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        user, system, child_user, child_system = map(int, fields[11:15])
        used[pid] = Cpu(
            (user + child_user) * _TICK_S, (system + child_system) * _TICK_S
        )
    wanted = set(roots)
    total = Cpu()
    for pid, cpu in used.items():
        above = pid
        while above and above not in wanted:
            above = parents.get(above, 0)
        if above:
            total += cpu
    return total


def used_by_thread(pid: int) -> dict[int, Cpu]:
    """Return what each living thread of a process has used, by its kernel id."""
    threads = {}
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        user, system = map(int, stat_fields(path.read_text())[11:13])
        threads[int(path.parent.name)] = Cpu(user * _TICK_S, system * _TICK_S)
    return threads


def used_by_all() -> float:
    """Return the seconds that all processors together were not idle since the boot."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _wait, irq, soft_irq, *_ = map(int, line[1:])
    return (user + nice + system + irq + soft_irq) * _TICK_S
