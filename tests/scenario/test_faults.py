"""Every row of ``make faults``, for a few seconds each."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.ledger import Size
from faults.rows import ROWS

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]

#: :mod:`scenario.test_kill` does more of it.
_ELSEWHERE = {"kill-busy"}


@pytest.mark.parametrize("name", [name for name in ROWS if name not in _ELSEWHERE])
def test_a_fault_costs_nothing_that_was_acknowledged(
    name: str, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(ROWS[name](tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
