"""Power is cut under load and amid idleness; ``make faults`` does it at length."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import power
from faults.ledger import RowRunner, Size

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]


@pytest.mark.parametrize("run", [power.run_busy, power.run_idle])
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
