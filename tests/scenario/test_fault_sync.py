"""Answers come after their syncs, as strace sees it; ``make faults`` looks for longer."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import sync
from faults.ledger import RowRunner, Size

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]


@pytest.mark.parametrize("run", [sync.run_answers, sync.run_bodies])
def test_what_is_acknowledged_was_synced_before(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
