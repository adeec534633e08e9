"""``kill -9`` at named points and amid idleness; ``make faults`` does it at length."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import kill
from faults.ledger import RowRunner, Size

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]


@pytest.mark.parametrize("run", [kill.run_named, kill.run_idle])
def test_a_kill_wherever_it_comes_loses_nothing(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
