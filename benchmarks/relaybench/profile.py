"""Where a message's processor time goes: samples of stacks, and what the kernel counted.

The kernel knows exactly what each thread used; a sampler knows where. The samples of a
thread therefore only share out what the kernel says it used.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relaybench.cpu import Cpu

#: What stands before a module of ours in the path of a frame.
_OURS: Final = "/mailwright/"
_THREAD: Final = re.compile(r'[Tt]hread (?:0x)?(\w+) "(.*)"')
#: Where a thread waits for work. A sampler cannot tell that from working there.
_WAITING: Final = frozenset({"_worker", "Condition.wait"})
_SYSCALL: Final = re.compile(
    r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Place:
    """A function and its share of a thread's samples."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class ThreadCost:
    """What one thread costs for a message.

    Attributes:
        user_us, system_us: microseconds, as the kernel counted them.
        ours: our innermost functions, with the libraries that they call; ``leaves``:
            where the samples really were. Dearest first.
    """

    name: str
    user_us: float
    system_us: float
    ours: Sequence[Place]
    leaves: Sequence[Place]

    @property
    def total_us(self) -> float:
        """Both."""
        return self.user_us + self.system_us


def thread_costs(
    samples: Mapping[str, Any], used: Mapping[int, Cpu], messages: int
) -> list[ThreadCost]:
    """Return what each thread costs a message, dearest first.

    ``samples`` is what py-spy writes as ``speedscope`` with ``--threads``; ``used`` is
    by the kernel's id of a thread. Samples of a thread that waits for work do not count.
    """
    frames = samples["shared"]["frames"]
    costs = []
    for profile in samples["profiles"]:
        found = _THREAD.search(profile["name"])
        if found is None or not profile["samples"]:
            continue
        cpu = used.get(int(found[1]), Cpu())
        stacks = [[frames[each] for each in stack] for stack in profile["samples"]]
        stacks = [each for each in stacks if each and each[-1]["name"] not in _WAITING]
        costs.append(
            ThreadCost(
                found[2],
                cpu.user * 1e6 / messages,
                cpu.system * 1e6 / messages,
                _places([_innermost(stack) for stack in stacks]),
                _places([_name(stack[-1]) for stack in stacks]),
            )
        )
    return sorted(costs, key=lambda cost: -cost.total_us)


def _places(names: Sequence[str]) -> list[Place]:
    counted = Counter(names).most_common()
    return [Place(name, count / len(names)) for name, count in counted]


def _innermost(stack: Sequence[Mapping[str, Any]]) -> str:
    """Return the innermost function of ours in a stack, which begins with its root."""
    for frame in reversed(stack):
        if _OURS in frame["file"]:
            return _name(frame)
    return "(no code of ours)"


def _name(frame: Mapping[str, Any]) -> str:
    path = frame["file"]
    short = (
        path.rpartition(_OURS)[2] if _OURS in path else "/".join(path.split("/")[-2:])
    )
    return f"{short} {frame['name']}"


def syscalls(table: str) -> dict[str, int]:
    """Return how often each call was made, from what ``strace -c`` writes."""
    return {
        name: int(calls) for calls, name in _SYSCALL.findall(table) if name != "total"
    }


def cost_lines(costs: Sequence[ThreadCost], *, most: int) -> list[str]:
    """Return the table that people read: threads, and the dearest places in each."""
    whole = sum(cost.total_us for cost in costs)
    lines = [f"{whole:.0f} µs of processor time for a message"]
    for cost in costs:
        lines += [
            "",
            f"thread {cost.name}: {cost.total_us:.0f} µs "
            f"({cost.user_us:.0f} user, {cost.system_us:.0f} system)",
        ]
        for title, places in (("in ours", cost.ours), ("at", cost.leaves)):
            lines += [
                f"  {title:<8}{place.share * cost.total_us:>6.0f} µs  {place.name}"
                for place in places[:most]
                if place.share * cost.total_us >= 1
            ]
    return lines
