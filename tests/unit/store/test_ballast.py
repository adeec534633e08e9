"""The ballast, and what the writer does with it when the disk is full."""

import os
import sqlite3
from pathlib import Path

import pytest

from mailwright.store.ballast import BALLAST_NAME, Ballast
from mailwright.store.ports import StoreFullError
from mailwright.store.statements import Step, Unit
from unit.store.rig import ADD, Rig, drive, note, running
from unit.store.test_writer_faults import faulty_rig


def growing(name: str) -> Unit:
    """A unit that takes in something new."""
    return Unit((Step(then=(ADD(name=name, value=0),)),), grows=True)


def test_the_room_is_allocated_and_given_up(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, octets=100_000)
    assert not ballast.is_kept
    assert ballast.keep()
    assert ballast.is_kept
    found = (tmp_path / BALLAST_NAME).stat()
    assert found.st_blocks * 512 >= 100_000
    assert ballast.give_up()
    assert not (tmp_path / BALLAST_NAME).exists()
    assert not ballast.is_kept
    assert not ballast.give_up()  # there is none left to free


def test_what_an_earlier_start_left_is_completed(tmp_path: Path) -> None:
    (tmp_path / BALLAST_NAME).write_bytes(b"half")
    assert Ballast(tmp_path, octets=100_000).keep()
    assert (tmp_path / BALLAST_NAME).stat().st_blocks * 512 >= 100_000


def test_by_default_it_is_at_most_an_eighth_of_the_disk(tmp_path: Path) -> None:
    total = os.statvfs(tmp_path)
    assert Ballast(tmp_path).keep()
    size = (tmp_path / BALLAST_NAME).stat().st_size
    assert size == min(16_000_000, total.f_blocks * total.f_frsize // 8)


def test_without_room_nothing_is_left_behind(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, octets=1 << 60)
    assert not ballast.keep()
    assert not (tmp_path / BALLAST_NAME).exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "else").write_bytes(b"theirs")
    (tmp_path / BALLAST_NAME).symlink_to(tmp_path / "else")
    assert not Ballast(tmp_path, octets=100_000).keep()
    assert (tmp_path / "else").read_bytes() == b"theirs"


def test_a_full_disk_frees_it_for_the_outcomes_and_refuses_what_is_new(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        async with running(rig):
            await rig.hold()
            outcome, new = rig.submit(note("outcome")), rig.submit(growing("new"))
            made[0].fault = ("COMMIT", sqlite3.SQLITE_FULL)
            rig.gate.opened.set()
            for answer in (outcome, new):
                await answer.heard.wait()
            assert outcome.error is None
            assert type(new.error) is StoreFullError
            assert not rig.ballast.is_kept

            # Whatever comes is refused without touching the disk, until there is room.
            later = rig.submit(growing("later"))
            await later.heard.wait()
            assert type(later.error) is StoreFullError
            assert rig.ballast.keep()
            last = rig.submit(growing("last"))
            await last.heard.wait()
            assert last.error is None
            assert sorted(rig.rows("SELECT name FROM notes")) == [
                ("last",),
                ("outcome",),
            ]

    drive(main())


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_lone_outcome_is_lost_only_without_it(tmp_path: Path, is_kept: bool) -> None:
    async def main() -> None:
        rig, made = faulty_rig(tmp_path / "db")
        if not is_kept:
            rig.ballast.give_up()
        async with running(rig):
            made[0].fault = ("COMMIT", sqlite3.SQLITE_FULL)
            outcome = rig.submit(note("outcome"))
            await outcome.heard.wait()
            assert (outcome.error is None) is is_kept

    drive(main())


def test_what_needs_room_for_itself_is_refused_as_before(tmp_path: Path) -> None:
    def small(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 16").close()

    async def main() -> None:
        async with running(Rig(tmp_path / "db", prepare=small)) as rig:
            large = rig.submit(note("x" * 200_000))
            await large.heard.wait()
            assert type(large.error) is StoreFullError

    drive(main())
