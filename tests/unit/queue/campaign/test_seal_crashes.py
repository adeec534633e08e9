"""A seal that dies before every one of its statements, and goes on in the next life.

The statements are the real ones on a real file; see :mod:`fakes.stepped_store`. What was
uploaded lies in files, which outlive the process: here in memory.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pytest

from fakes.campaigns import TENANT, campaigns_on, new_campaign
from fakes.queueing import days_tables
from fakes.staged import MemoryStaging, sealing_of
from fakes.stepped_store import Died, SteppedStore
from mailwright.clock import ManualClock
from mailwright.queue.book import LineBook
from mailwright.queue.campaign import sealing, writing
from mailwright.queue.campaign.job import JobState, Seed
from mailwright.queue.recovery import load_lines
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = "20260301"
ROWS = 38
UPLOADED = [f"p{n}@{'ab'[n % 2]}.example" for n in range(ROWS)]
#: Two rows that repeat others, and two that are no addresses.
UPLOADED += ["p1@b.example", "no address", "p2@a.example", "none either"]
EVERY = 5
SEEDS = (Seed("me@s.example", every=EVERY),)
#: A seed comes after every so many recipients.
COPIES = ROWS // EVERY


@lru_cache(maxsize=1)
def template() -> bytes:
    """Return a migrated database with the tables of the day."""

    async def make(folder: Path) -> bytes:
        path = folder / "q.db"
        store = await Store.open(
            StoreSettings(path, folder, "n1"),
            clock=ManualClock(START),
            day_tables=days_tables(),
        )
        await store.close()
        return path.read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder)))


class Lives:
    """The lives of one node, one after the other."""

    def __init__(self, folder: Path, *, is_atomic: bool = True) -> None:
        self.folder = folder
        self.is_atomic = is_atomic
        self.staging = MemoryStaging()
        self.deaths = 0
        folder.mkdir(exist_ok=True)
        (folder / "q.db").write_bytes(template())

    def until_sealed(self, fuses: list[int | None]) -> SteppedStore:
        """Live with each fuse, the last one being none; return the last store."""
        for fuse in fuses:
            store = SteppedStore(
                self.folder / "q.db", ManualClock(START), is_atomic=self.is_atomic
            )
            store.arm(fuse)
            loop = asyncio.new_event_loop()
            try:
                if drive(loop, store, self._life(store)):
                    return store
            finally:
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()
            self.deaths += 1
            store.die()
        raise AssertionError("it died without a fuse")

    async def _life(self, store: SteppedStore) -> None:
        campaigns = await campaigns_on(store, store.take_id, store.clock, self.folder)
        lines = LineBook(store.take_id)
        await load_lines(store, lines)
        sealer = sealing_of(campaigns, lines, self.staging, store.take_id)
        known = next(iter(campaigns.book), None)
        if known is None:
            known = await campaigns.jobs.create(new_campaign(seeds=SEEDS))
        if known.state is JobState.DRAFT:
            self.staging.uploaded[known.id] = list(UPLOADED)
            await campaigns.jobs.start(TENANT, known.id, "me")
        await sealer.seal(known.id)
        self.book = {line.id: line.count for line in lines}
        self.left = [line for line in lines if line.accepting]


def drive(loop, store: SteppedStore, life) -> bool:
    """Run ``life`` with the turns that it asks for; false when it died."""
    task = loop.create_task(life)
    try:
        while not (task.done() and store.is_idle):
            loop.run_until_complete(asyncio.sleep(0))
            store.turn()
        task.result()
    except Died:
        return False
    finally:
        while not task.done():
            task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
        if not task.cancelled():
            task.exception()
    return True


def check(lives: Lives, store: SteppedStore) -> None:
    """See that every row has its outcome, once, and that all sums are right."""
    ((state, sealed, rows, duplicates, invalid, wanted),) = store.rows(
        "SELECT state, sealed_rows, rows, duplicates, invalid, start_wanted "
        "FROM campaigns"
    )
    assert (state, wanted) == ("running", 0)
    assert (sealed, rows, duplicates, invalid) == (ROWS, ROWS, 2, 2)
    people = store.rows("SELECT address, message, delivery, is_seed FROM recipients")
    addresses = Counter(row[0] for row in people)
    assert addresses == Counter(UPLOADED[:ROWS]) + Counter({"me@s.example": COPIES})
    assert sum(row[3] for row in people) == COPIES
    sent = store.rows("SELECT id, message, line, recipient FROM deliveries")
    assert {(row[3], row[1], row[0]) for row in sent} == {row[:3] for row in people}
    assert {row[0] for row in store.rows("SELECT id FROM messages")} == {
        row[1] for row in people
    }
    told = store.rows(f"SELECT seq, delivery, type FROM events_{DAY} ORDER BY seq")
    assert {row[1] for row in told} == {row[0] for row in sent}
    assert [row[0] for row in told] == list(range(1, len(sent) + 1))
    assert store.rows("SELECT row, outcome FROM rejects ORDER BY row") == [
        (ROWS + 1, "duplicate"),
        (ROWS + 2, "invalid"),
        (ROWS + 3, "duplicate"),
        (ROWS + 4, "invalid"),
    ]
    assert store.rows("SELECT state, category, count FROM campaign_totals") == [
        (0, "", len(sent))
    ]
    counts = Counter(row[2] for row in sent)
    assert dict(store.rows("SELECT id, count FROM lines")) == counts == lives.book
    assert not lives.left


def walk(
    folder: Path, fuses: Callable[[int], list[int | None]], *, is_atomic: bool = True
) -> int:
    """Die before the first statement, the second …; return how often it did."""
    number = 0
    while True:
        lives = Lives(folder / str(number), is_atomic=is_atomic)
        store = lives.until_sealed(fuses(number))
        check(lives, store)
        store.die()
        if not lives.deaths:
            return number
        number += 1


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows already take several slices and batches."""
    monkeypatch.setattr(writing, "SLICE", 3)
    monkeypatch.setattr(writing, "BATCH", 7)
    monkeypatch.setattr(sealing, "REJECTS_SLICE", 2)


def test_a_seal_that_dies_anywhere_goes_on_exactly_there(tmp_path: Path) -> None:
    assert walk(tmp_path, lambda number: [number, None]) > 100


def test_a_seal_that_dies_twice_goes_on_exactly_there(tmp_path: Path) -> None:
    # The second life dies where the first one did, counted from its start.
    assert walk(tmp_path, lambda number: [number, number // 2, None]) > 100


def test_a_store_that_commits_by_halves_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        walk(tmp_path, lambda number: [number, None], is_atomic=False)
