"""Clients that mean harm, in short; ``make faults`` does it at length."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import addresses, crowd, fields, logins, one_client
from faults.ledger import RowRunner, Size

pytestmark = pytest.mark.scenario


#: These measure times.
_ALONE = {
    "one client": one_client.run,
    "a crowd": crowd.run,
    "guesses from one": logins.run_one,
    "guesses from many": logins.run_many,
    "TLS logins": logins.run_tls,
}
#: A thousand connections, or 200 new ones a second.
_MANY = {"a crowd", "TLS logins"}
_BESIDE = {"addresses": addresses.run, "fields": fields.run}


@pytest.mark.parametrize(
    "run",
    [
        *(
            pytest.param(
                run,
                id=name,
                marks=[
                    pytest.mark.alone,
                    pytest.mark.needs(*(["files"] if name in _MANY else [])),
                ],
            )
            for name, run in _ALONE.items()
        ),
        *(pytest.param(run, id=name) for name, run in _BESIDE.items()),
    ],
)
def test_a_hostile_client_gets_nothing_and_costs_little(
    run: RowRunner, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    row = asyncio.run(run(tmp_path, Size.SHORT))
    publish(str(row))
    assert row.is_good, row.complaints
