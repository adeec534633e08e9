"""Receivers and name servers that mean harm, in short; ``make faults`` adds letters."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import replies, sinks, zones
from faults.ledger import RowRunner, Size

pytestmark = pytest.mark.scenario


@pytest.mark.parametrize(
    "run", [sinks.run, replies.run, zones.run], ids=["smtp-sink", "replies", "zones"]
)
def test_mail_to_a_hostile_receiver_ends_as_the_table_says(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
