"""``kill -9`` under load: what was acknowledged is delivered or queued, copies are few.

The ledger is of what clients and receivers saw, not of what the node believes. Its
control is a node that answers before it commits.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwright.queue.delivery import State
from scenario.crashing import Ledger, finished_states, trial

#: ``make faults`` has a hundred.
ROUNDS = 10
#: At most: it is over with the first letter that is lost.
CONTROL_ROUNDS = 12
CONTROL = (str(Path(__file__).with_name("control_node.py")),)

pytestmark = pytest.mark.scenario


def test_ten_kills_lose_nothing_and_copy_little(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    async def main() -> Ledger:
        async with trial(tmp_path, seed=20261122) as series:
            for _ in range(ROUNDS):
                await series.round()
            ledger = series.ledger(await series.drain())
            states = finished_states(series.settings)
            # Nothing is given up for a crash, however often.
            assert set(states) == {State.DELIVERED}
            assert states[State.DELIVERED] == ledger.delivered + ledger.durable
            return ledger

    ledger = asyncio.run(main())
    publish(str(ledger))
    assert ledger.lost == 0
    assert ledger.queued == 0
    assert ledger.delivered == ledger.acknowledged
    assert ledger.unexplained == 0
    assert ledger.excesses == []
    # Without copies no kill met a delivery, and the bound was not tried.
    assert ledger.copies > 0


def test_a_node_that_answers_before_it_commits_is_found_out(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    async def main() -> Ledger:
        async with trial(tmp_path, seed=1, command=CONTROL) as series:
            for _ in range(CONTROL_ROUNDS):
                await series.round()
                if series.ledger([]).lost:
                    break
            return series.ledger(await series.drain())

    ledger = asyncio.run(main())
    publish(f"control, answers first: {ledger}")
    assert ledger.lost > 0
