import asyncio
import logging
import sqlite3
import threading
from collections import deque
from pathlib import Path

import pytest

from mailwright.store.ports import StoreConflictError, StoreError
from mailwright.store.statements import Step, Unit, Urgency, unit
from mailwright.store.submitted import Submitted
from unit.store.rig import ADD, CHANGE, DEADLINE_S, NAMES, Rig, drive, note, running


def test_units_that_wait_share_a_commit(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            before = rig.commits()
            answers = [rig.submit(note(f"n{i}")) for i in range(200)]
            rig.gate.opened.set()
            await answers[-1].heard.wait()
            assert rig.commits() - before == 1
            assert rig.rows("SELECT count(*) FROM notes") == [(200,)]

    drive(main())


def test_a_turn_ends_when_its_time_is_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db", turn_s=0.0)) as rig:
            await rig.hold()
            before = rig.commits()
            answers = [rig.submit(note(f"n{i}")) for i in range(10)]
            rig.gate.opened.set()
            await answers[-1].heard.wait()
            assert rig.commits() - before == 11  # each its own, and the gate's

    drive(main())


def test_an_answer_comes_after_its_commit(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            seen: list[list[tuple[str]]] = []
            heard = asyncio.Event()

            def done(result: object, error: StoreError | None) -> None:
                seen.append(rig.rows("SELECT name FROM notes"))
                heard.set()

            rig.writer.submit(note("a"), done)
            await heard.wait()
            assert seen == [[("a",)]]

    drive(main())


def test_interactive_units_go_first_and_each_kind_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            for i in range(3):
                rig.submit(note(f"bulk{i}", bulk=True))
            for i in range(3):
                rig.submit(note(f"now{i}"))
            look = rig.submit(Unit((Step(guard=NAMES()),), Urgency.BULK))
            rig.gate.opened.set()
            await look.heard.wait()
            assert look.result is not None
            names = [name for (name,) in look.result[0]]
            assert names == ["now0", "now1", "now2", "bulk0", "bulk1", "bulk2"]
            assert rig.answers[0].result == [[(1,)]]  # the gate's

    drive(main())


def test_a_flood_of_interactive_units_does_not_starve_bulk_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db", turn_s=0.0)) as rig:
            await rig.hold()
            rig.submit(note("bulk", bulk=True))
            answers = [rig.submit(note(f"n{i}")) for i in range(100)]
            rig.gate.opened.set()
            await answers[-1].heard.wait()
            ((place,),) = rig.rows("SELECT place FROM notes WHERE name = 'bulk'")
            assert 10 < place < 20

    drive(main())


@pytest.mark.parametrize("bad", range(4))
def test_a_failing_unit_gets_the_error_alone(tmp_path: Path, bad: int) -> None:
    """Whatever its place in the turn, and although part of it had run."""

    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            rig.submit(note("taken"))
            answers = []
            for i in range(4):
                parts = (ADD(name=f"part{i}", value=0), ADD(name="taken", value=0))
                units = unit(*parts) if i == bad else note(f"n{i}", logged=True)
                answers.append(rig.submit(units))
            rig.gate.opened.set()
            for answer in answers:
                await answer.heard.wait()
            errors = [answer.error for answer in answers]
            assert isinstance(errors.pop(bad), StoreConflictError)
            assert errors == [None] * 3
            names = {name for (name,) in rig.rows("SELECT name FROM notes")}
            assert names == {"taken"} | {f"n{i}" for i in range(4) if i != bad}
            # Numbers of what was rolled back are given again.
            assert rig.rows("SELECT seq FROM log") == [(1,), (2,), (3,)]
            assert rig.rows("SELECT seq FROM nodes") == [(3,)]
            assert rig.answers[-4:] == answers  # heard in the order of handing in

    drive(main())


def test_a_unit_that_fails_alone_gives_back_its_number(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.submit(note("a", logged=True)).heard.wait()
            again = rig.submit(note("a", logged=True))
            await again.heard.wait()
            assert isinstance(again.error, StoreConflictError)
            await rig.submit(note("b", logged=True)).heard.wait()
            assert rig.rows("SELECT seq, name FROM log") == [(1, "a"), (2, "b")]

    drive(main())


def test_the_error_names_the_statement_and_no_value(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.submit(note("secret@example.com")).heard.wait()
            answer = rig.submit(note("secret@example.com"))
            await answer.heard.wait()
            assert "add note" in str(answer.error)
            assert "secret" not in str(answer.error)

    drive(main())


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(unit(ADD(name="a")), id="a missing value"),
        pytest.param(unit(ADD(name="a", value=1 << 80)), id="a value too large"),
        pytest.param(Unit((Step(guard=CHANGE(which="a")),)), id="a guard's value"),
    ],
)
def test_a_wrong_unit_is_an_error_of_its_own_and_the_store_goes_on(
    tmp_path: Path, broken: Unit
) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            wrong, right = rig.submit(broken), rig.submit(note("b"))
            rig.gate.opened.set()
            await right.heard.wait()
            assert type(wrong.error) is StoreError
            assert right.error is None
            assert rig.rows("SELECT name FROM notes") == [("b",)]

    drive(main())


def test_a_unit_can_be_withdrawn_until_it_has_begun(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            begun = await rig.hold()
            waiting, last = rig.submit(note("a")), rig.submit(note("b"))
            assert begun.submitted is not None
            assert waiting.submitted is not None
            assert not begun.submitted.withdraw()
            assert waiting.submitted.withdraw()
            assert waiting.submitted.withdraw()  # asking again changes nothing
            rig.gate.opened.set()
            await last.heard.wait()
            assert begun.heard.is_set()
            assert not waiting.heard.is_set()
            assert rig.rows("SELECT name FROM notes") == [("b",)]

    drive(main())


class StaleLine(deque[Submitted]):
    """A line that is filled just after the thread has found it empty."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks  # which look finds what is not true any more
        self.looked = threading.Event()
        self.filled = threading.Event()

    def append(self, submitted: Submitted) -> None:
        super().append(submitted)
        self.filled.set()

    def __bool__(self) -> bool:
        is_filled = len(self) > 0
        if threading.current_thread().name == "store" and not is_filled:
            self.looks -= 1
            if self.looks == 0:
                self.looked.set()
                assert self.filled.wait(DEADLINE_S)
        return is_filled


@pytest.mark.parametrize("looks", [1, 2, 3, 4])
def test_a_thread_that_falls_asleep_misses_no_unit(tmp_path: Path, looks: int) -> None:
    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            line = rig.writer._interactive = StaleLine(looks)
            rig.gate.opened.set()
            # The turn's end is the first look; further units make for further looks.
            while not line.looked.is_set():
                await asyncio.to_thread(line.looked.wait, 0.05)
                if not line.looked.is_set():
                    deque.append(line, Submitted(unit(), lambda _result, _error: None))
                    with rig.writer._condition:
                        rig.writer._condition.notify()
            await rig.submit(unit(NAMES())).heard.wait()

    drive(main())


def test_an_owner_that_raises_on_its_answer_harms_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(result: object, error: StoreError | None) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with running(Rig(tmp_path / "db")) as rig:
            await rig.hold()
            rig.writer.submit(note("a"), raising)
            after = rig.submit(note("b"))
            rig.gate.opened.set()
            await after.heard.wait()
            assert after.error is None

    with caplog.at_level(logging.ERROR):
        drive(main())
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_closing_runs_what_was_handed_in_and_refuses_what_comes_later(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        rig = Rig(tmp_path / "db")
        async with running(rig):
            await rig.hold()
            before = [rig.submit(note(f"n{i}", bulk=bool(i))) for i in range(2)]
        assert [answer.error for answer in before] == [None, None]
        assert rig.rows("SELECT count(*) FROM notes") == [(2,)]
        after = rig.submit(note("late"))
        await after.heard.wait()
        assert type(after.error) is StoreError

    drive(main())


def test_the_event_number_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        for name in ("a", "b"):
            async with running(Rig(tmp_path / "db")) as rig:
                await rig.submit(note(name, logged=True)).heard.wait()
        assert rig.rows("SELECT seq, name FROM log") == [(1, "a"), (2, "b")]

    drive(main())


def test_what_opening_raises_comes_out_of_start(tmp_path: Path) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        connection.close()
        raise ZeroDivisionError

    async def main() -> None:
        rig = Rig(tmp_path / "db", prepare=refuse)
        with pytest.raises(ZeroDivisionError):
            await rig.writer.start()
        await rig.writer.close()  # does not hang

    drive(main())
