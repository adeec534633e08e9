"""Every row of ``make faults``, for a few seconds each."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import hostile
from faults.ledger import Size
from faults.rows import ROWS

pytestmark = pytest.mark.scenario

#: ``test_kill`` and the tests of hostile clients and receivers have these.
_ELSEWHERE = {"kill-busy", *hostile.ROWS}
_NEEDS = {
    "power-busy": "loops",
    "power-idle": "loops",
    "sync-answers": "tracing",
    "sync-bodies": "tracing",
    "nth-call": "tracing",
    "slow-disk": "tracing",
    "full-blocks": "mounts",
    "full-inodes": "mounts",
    "clocks": "faketime",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.needs(_NEEDS[name])] if name in _NEEDS else []
        )
        for name in ROWS
        if name not in _ELSEWHERE
    ],
)
def test_a_fault_costs_nothing_that_was_acknowledged(
    name: str, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(ROWS[name](tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
