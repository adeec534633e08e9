import asyncio
import sqlite3
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import bindparam, func, insert, select

from mailwright.clock import ManualClock
from mailwright.events.tables import events_of
from mailwright.ids import COUNTER_BITS
from mailwright.queue.tables import finished_of
from mailwright.store import sqlite
from mailwright.store.lock import LockHeldError
from mailwright.store.ports import StoreConflictError, StoreError, UnitStore
from mailwright.store.readers import Readers
from mailwright.store.sqlite import PragmaRefusedError, set_pragmas
from mailwright.store.start import Start
from mailwright.store.statements import Query, Step, Unit, unit
from mailwright.store.store import Store
from mailwright.store.tables import days, nodes, schema_facts
from unit.store.rig import (
    ADD,
    DEADLINE_S,
    GATE,
    NAMES,
    SLOW,
    Rig,
    drive,
    note,
    opened,
    running,
    settings_in,
)

# Any table will do; this one is the store's own.
ADD_DAY = Query("add day", insert(days))
COUNT_DAYS = Query("count days", select(func.count()).select_from(days))
GET_DAY = Query("get day", select(days).where(days.c.day == bindparam("day")))
EPOCH = Query(
    "epoch", select(schema_facts.c.value).where(schema_facts.c.name == "epoch")
)
NODES = Query(
    "nodes", select(nodes.c.id, nodes.c.name, nodes.c.ids_end, nodes.c.stopped_at)
)


def day(number: int) -> Unit:
    return unit(ADD_DAY(day=number, created_at=0))


def test_each_start_has_an_epoch_of_its_own_and_says_so_durably(tmp_path: Path) -> None:
    async def main() -> None:
        for epoch in (1, 2, 3):
            async with opened(tmp_path) as store:
                port: UnitStore = store
                assert (port.epoch, port.node) == (epoch, 1)
                assert await store.read(EPOCH()) == [[(epoch,)]]

    drive(main())


def test_a_node_is_known_by_its_name(tmp_path: Path) -> None:
    async def main() -> None:
        numbers = []
        for name in ("n1", "n2", "n1"):
            async with opened(tmp_path, node=name) as store:
                numbers.append(store.node)
                assert store.ids.take() >> COUNTER_BITS == store.node
        assert numbers == [1, 2, 1]

    drive(main())


def test_a_stop_is_recorded_and_a_start_clears_it(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(2):
            async with opened(tmp_path) as store:
                ((row,),) = await store.read(NODES())
                assert row[3] is None
        connection = sqlite3.connect(tmp_path / "mailwright.db")
        (stopped_at,) = connection.execute("SELECT stopped_at FROM nodes").fetchone()
        connection.close()
        assert stopped_at is not None

    drive(main())


def test_a_database_is_new_until_a_room_has_written_something(tmp_path: Path) -> None:
    from mailwright.accounts.tables import tenants

    add = Query("add tenant", insert(tenants))

    async def main() -> None:
        for _ in range(2):  # a crash before the first settings leaves it new
            async with opened(tmp_path) as store:
                assert store.is_new
        async with opened(tmp_path) as store:
            await store.run(unit(add(id=1, name="t", created_at=0, retired_at=None)))
        async with opened(tmp_path) as store:
            assert not store.is_new

    drive(main())


def test_a_second_store_on_the_same_files_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        other = tmp_path / "other"
        other.mkdir()
        async with opened(tmp_path):
            for state_dir in (tmp_path, other):
                settings = settings_in(tmp_path, state_dir=state_dir)
                with pytest.raises(LockHeldError):
                    await Store.open(settings, clock=ManualClock())
        async with opened(tmp_path):
            pass

    drive(main())


def test_a_failed_opening_lets_go_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setitem(sqlite.WRITER_PRAGMAS, "synchronous", 99)  # type: ignore[index]
            with pytest.raises(PragmaRefusedError, match="synchronous"):
                await Store.open(settings_in(tmp_path), clock=ManualClock())
        async with opened(tmp_path) as store:
            assert store.epoch == 1

    drive(main())


def test_a_setting_that_sqlite_does_not_take_is_noticed() -> None:
    connection = sqlite3.connect(":memory:")  # which cannot have a write-ahead log
    with pytest.raises(PragmaRefusedError, match="journal_mode") as caught:
        set_pragmas(connection, sqlite.WRITER_PRAGMAS)
    assert caught.value.answer == "memory"


def test_a_setting_that_sqlite_does_not_know_is_noticed() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(PragmaRefusedError) as caught:
        set_pragmas(connection, {"sychronous": 2})
    assert caught.value.answer is None


def test_a_folder_that_is_missing_is_no_store(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await Store.open(settings_in(tmp_path / "no"), clock=ManualClock())
        path = tmp_path / "no" / "mailwright.db"
        with pytest.raises(OSError, match="No such file"):
            await Store.open(settings_in(tmp_path, path=path), clock=ManualClock())

    drive(main())


# -- running and reading -----------------------------------------------------------------


def test_what_has_run_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            for number in range(50):
                await store.run(day(number))
                assert await store.read(GET_DAY(day=number)) == [[(number, 0)]]

    drive(main())


def test_a_unit_that_was_rolled_back_raises_what_it_met(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            await store.run(day(1))
            with pytest.raises(StoreConflictError):
                await store.run(day(1))

    drive(main())


def test_one_read_sees_one_moment(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store, asyncio.TaskGroup() as tasks:
            slow = SLOW(upto=300_000)
            read = tasks.create_task(store.read(COUNT_DAYS(), slow, COUNT_DAYS()))
            written = 0
            while not read.done():
                await store.run(day(written))
                written += 1
            before, _, after = read.result()
            assert before == after
            assert written > 5  # it was written to meanwhile

    drive(main())


def test_reads_go_on_beside_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store, asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(store.read(COUNT_DAYS())) for _ in range(50)]
        assert {read.result()[0][0] for read in reads} == {(2,)}

    drive(main())


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(StoreError, match="reader cannot write"):
                await store.read(ADD_DAY(day=1, created_at=0))
            assert await store.read(GET_DAY(day=1)) == [[]]

    drive(main())


def test_a_read_that_takes_too_long_is_stopped_and_its_reader_goes_on(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path, readers=1, read_limit_s=1.0) as store:
            with pytest.raises(StoreError, match=r"not read within 1 s"):
                await store.read(SLOW(upto=10**12))
            assert await store.read(COUNT_DAYS()) == [[(2,)]]

    drive(main())


def test_more_reads_than_may_wait_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailwright.store.readers.WAITING_MAX", 2)

    async def main() -> None:
        async with opened(tmp_path, readers=1) as store:
            results = []

            async def one() -> None:
                try:
                    results.append(await store.read(COUNT_DAYS()))
                except StoreError as error:
                    results.append(str(error))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(one())
            assert results[0] == "2 reads wait already"
            assert results[1:] == [[[(2,)]]] * 2

    drive(main())


def test_a_cancelled_caller_undoes_only_what_has_not_begun(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            store = Store(
                Start(epoch=1, node=1, first_id_counter=1, seq=0, is_new=False),
                rig.writer,
                Readers(rig.path, readers=1, limit_s=10),
                rig.ballast,
                (),
                ManualClock(),
            )
            gated = Unit((Step(guard=GATE(), then=(ADD(name="begun", value=0),)),))
            begun = asyncio.ensure_future(store.run(gated))
            await asyncio.sleep(0)
            assert await asyncio.to_thread(rig.gate.reached.wait, DEADLINE_S)
            waiting = asyncio.ensure_future(store.run(note("waiting")))
            await asyncio.sleep(0)
            for task in (begun, waiting):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            rig.gate.opened.set()
            await store.run(note("after"))
            assert await store.read(NAMES()) == [[("begun",), ("after",)]]
            await store._readers.close()

    drive(main())


def test_after_closing_nothing_is_accepted(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            pass
        with pytest.raises(StoreError, match="closed"):
            await store.run(day(1))

    drive(main())


def test_the_log_is_taken_into_the_database_while_the_node_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            path = tmp_path / "mailwright.db"
            before = path.stat().st_size
            for first in range(0, 4_000, 100):
                rows = tuple(ADD_DAY(day=first + n, created_at=0) for n in range(100))
                await store.run(Unit((Step(then=rows),)))
            assert path.stat().st_size > before

    drive(main())


# -- ids ---------------------------------------------------------------------------------


def test_ids_never_repeat_across_starts(tmp_path: Path) -> None:
    async def main() -> None:
        last = 0
        for _ in range(3):
            async with opened(tmp_path) as store:
                assert store.first_id > last
                taken = [store.ids.take() for _ in range(1_000)]
                assert taken == list(range(store.first_id, store.first_id + 1_000))
                last = taken[-1]

    drive(main())


def test_ids_are_reserved_anew_before_they_run_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as store:
            first = last = store.ids.take()
            for _ in range(1 << 19):
                last = store.ids.take()
            # What reserves was handed in before this, and so is durable after it.
            (rows,) = await store.run(Unit((Step(guard=NODES()),)))
            assert rows[0][2] == (2 << 20) + 1
            for _ in range(1 << 19):
                last = store.ids.take()
            assert last - first == 1 << 20

    drive(main())


# -- days --------------------------------------------------------------------------------


def test_today_and_tomorrow_have_their_tables(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock()
        settings = settings_in(tmp_path)
        today = clock.now().date()
        tables = [finished_of, events_of]
        store = await Store.open(settings, clock=clock, day_tables=tables)
        try:
            assert store.days() == [today, today + timedelta(days=1)]
            await store.ensure_day(date(2025, 12, 31))
            await store.ensure_day(date(2025, 12, 31))
            assert store.days()[0] == date(2025, 12, 31)
            for table in (finished_of(store.days()[0]), events_of(today)):
                query = Query("count", select(func.count()).select_from(table))
                assert await store.read(query()) == [[(0,)]]
        finally:
            await store.close()
        store = await Store.open(settings, clock=clock, day_tables=tables)
        assert len(store.days()) == 3  # known from before
        await store.close()

    drive(main())


def test_a_new_kind_of_day_table_comes_to_a_day_that_exists(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock()
        for tables in ([finished_of], [finished_of, events_of]):
            store = await Store.open(
                settings_in(tmp_path), clock=clock, day_tables=tables
            )
            await store.close()
        connection = sqlite3.connect(tmp_path / "mailwright.db")
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema")
        }
        connection.close()
        assert {"events_20260101", "finished_20260101_message"} <= names

    drive(main())
