"""``kill -9``: what was acknowledged is there, and no number is given twice.

A child writes and says what its owners heard; it dies in the middle. The control is a
writer that answers before it commits: these tests must catch it.
"""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from mailwright.clock import ManualClock
from mailwright.store.store import Store
from unit.store.rig import drive, settings_in

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import insert
from mailwright.clock import SystemClock
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import Query, unit
from mailwright.store.store import Store
from mailwright.accounts.tables import tenants
from mailwright.store.turns import Turns

folder, die_after, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
add = Query("add", insert(tenants))

if mode == "answers first":
    run = Turns._commit
    def commit(self, seq):
        for submitted in self.taken:
            submitted.done([[]], None)
        run(self, seq)
    Turns._commit = commit

async def main():
    settings = StoreSettings(folder / "mailwright.db", folder, "n1")
    store = await Store.open(settings, clock=SystemClock())
    print(store.first_id, flush=True)
    heard = 0
    def submit():
        number = store.ids.take()
        def done(result, error):
            nonlocal heard
            os.write(1, b"%d\\n" % number)
            heard += 1
            if heard == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if mode != "answers first":
                submit()
        store.submit(
            unit(add(id=number, name=str(number), created_at=0, retired_at=None)), done
        )
    for _ in range(die_after if mode == "answers first" else 20):
        submit()
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Died(NamedTuple):
    first_id: int
    acknowledged: set[int]


def run_until_killed(folder: Path, die_after: int, mode: str = "honest") -> Died:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(die_after), mode],
        stdout=subprocess.PIPE,
        timeout=240,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    first, *acknowledged = map(int, child.stdout.split())
    assert len(acknowledged) == die_after
    return Died(first, set(acknowledged))


def stored(folder: Path) -> set[int]:
    # Read-only: closing must not take the log away from the next start.
    uri = f"{(folder / 'mailwright.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {number for (number,) in connection.execute("SELECT id FROM tenants")}


@pytest.mark.slow
def test_what_was_acknowledged_survives_and_ids_do_not_repeat(tmp_path: Path) -> None:
    seen: set[int] = set()
    for die_after in (1, 70, 333):
        died = run_until_killed(tmp_path, die_after)
        assert died.first_id > max(seen, default=0)
        seen |= died.acknowledged
        assert seen <= stored(tmp_path)

    async def main() -> None:
        store = await Store.open(settings_in(tmp_path), clock=ManualClock())
        assert store.epoch == 4
        assert store.first_id > max(seen)
        await store.close()

    drive(main())


@pytest.mark.slow
def test_a_writer_that_answers_before_it_commits_is_caught(tmp_path: Path) -> None:
    died = run_until_killed(tmp_path, 1, "answers first")
    assert not died.acknowledged <= stored(tmp_path)
