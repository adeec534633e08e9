"""Clients that mean harm, in short; ``make faults`` does it at length."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import addresses, crowd, fields, logins, one_client
from faults.ledger import RowRunner, Size

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    "run",
    [
        one_client.run,
        crowd.run,
        addresses.run,
        fields.run,
        logins.run_one,
        logins.run_many,
        logins.run_tls,
    ],
    ids=[
        *("one client", "a crowd", "addresses", "fields"),
        *("guesses from one", "guesses from many", "TLS logins"),
    ],
)
def test_a_hostile_client_gets_nothing_and_costs_little(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
