"""What a machine that is slow or busy may take for what a quiet one does in a given time.

A budget of time says something of the code only where the machine is known. Tests that
run anywhere therefore ask one of these: whether time grows in proportion to the input, or
how long a budget is here and now. ``make faults`` and the benchmarks keep the budgets as
they are.
"""

import time
from collections.abc import Callable
from typing import Final

#: What :func:`_work` takes on the machine that the budgets were measured on.
_REFERENCE_S: Final = 0.020
_LOOKS: Final = 5
#: A look is a moment; what else runs comes and goes.
_MARGIN: Final = 2.0
#: In proportion it is 4, as the square 16.
_MOST_FOR_FOUR: Final = 10.0
_ATTEMPTS: Final = 4
#: Less is no measure of anything.
_NOTHING_S: Final = 0.02


def allowed(strict: float) -> float:
    """Return what a budget by the clock is here: never less than ``strict``."""
    return strict * max(1.0, _slowness(time.perf_counter) * _MARGIN)


def allowed_cpu(strict: float) -> float:
    """Return what a budget of the processor's time is here: never less than ``strict``."""
    return strict * max(1.0, _slowness(time.thread_time) * _MARGIN)


def is_in_proportion(work: Callable[[int], object], size: int) -> bool:
    """Say whether ``work(size)`` takes no more than its share of time of a quarter.

    By the processor, and the best of some attempts: what else runs only ever adds.
    """
    for _ in range(_ATTEMPTS):
        quarter_s, whole_s = _cpu_s(work, size // 4), _cpu_s(work, size)
        if whole_s <= max(_MOST_FOR_FOUR * quarter_s, _NOTHING_S):
            return True
    return False


def _cpu_s(work: Callable[[int], object], size: int) -> float:
    began_at = time.process_time()
    work(size)
    return time.process_time() - began_at


def _slowness(clock: Callable[[], float]) -> float:
    """Return how many times longer than there this machine takes, at its worst."""
    took = []
    for _ in range(_LOOKS):
        began_at = clock()
        _work()
        took.append(clock() - began_at)
    return max(took) / _REFERENCE_S


def _work() -> int:
    number = 0
    for each in range(200_000):
        number = (number * 31 + each) & 0xFFFFFFFF
    return number
