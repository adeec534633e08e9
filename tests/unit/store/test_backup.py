"""A backup is of one instant, has its bodies, and is noticed when it is not whole."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, select

from mailwright.store import backup as backups
from mailwright.store.backup import Original, make_backup
from mailwright.store.manifest import BackupError, Manifest, read_manifest, verify
from mailwright.store.restore import JUMP, is_empty, prepare, put_in_place
from mailwright.store.sqlite import open_writer
from mailwright.store.statements import Query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 20_000

_contents = Table(
    "contents",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("body", Text),
)
NAMES = Query("names", select(_contents.c.body).where(_contents.c.body.is_not(None)))
COUNT = Query("count", select(func.count()).select_from(_contents))


def nothing(_what: str, _done: int, _total: int) -> None:
    pass


class State:
    """A state folder with a small database that is open for writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        (self.folder / "bodies").mkdir(parents=True)
        self.path = self.folder / "mailwright.db"
        self.connection = open_writer(self.path)
        self.connection.executescript(
            "CREATE TABLE schema_facts (name TEXT PRIMARY KEY, value INTEGER);"
            "INSERT INTO schema_facts VALUES ('version', 1), ('epoch', 4);"
            "CREATE TABLE nodes (id INTEGER PRIMARY KEY, ids_end INTEGER, seq INTEGER);"
            "INSERT INTO nodes VALUES (1, 100, 7);"
            "CREATE TABLE contents (id INTEGER PRIMARY KEY, body TEXT, x TEXT);"
        )

    def add(self, body: bytes | None = None, day: str = "20260301") -> str | None:
        name = None
        if body is not None:
            number = len(list(self.folder.glob("bodies/*/*")))
            name = f"{day}/{number:016x}"
            path = self.folder / "bodies" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)
        self.connection.execute(
            "INSERT INTO contents (body, x) VALUES (?, ?)", (name, "x" * 200)
        )
        return name

    def fill(self, rows: int = ROWS) -> None:
        self.connection.execute("BEGIN")
        for _ in range(rows):
            self.add()
        self.connection.execute("COMMIT")

    @property
    def original(self) -> Original:
        return Original(self.path, self.folder, "n1", NAMES, {"contents": COUNT})

    def back_up(
        self,
        target: Path,
        progress: Callable[[str, int, int], None] = nothing,
        rest: Callable[[float], object] = lambda _seconds: None,
    ) -> Manifest:
        return make_backup(self.original, target, lambda: NOW, progress, rest=rest)


@pytest.fixture
def state(tmp_path: Path):
    made = State(tmp_path)
    with closing(made.connection):
        yield made


def test_a_copy_is_of_one_instant_however_much_is_written_meanwhile(
    state: State, tmp_path: Path
) -> None:
    state.fill()
    steps = 0

    def write(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        state.connection.execute("DELETE FROM contents WHERE id = ?", (steps,))
        state.add()
        state.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    manifest = state.back_up(tmp_path / "b", rest=write)
    assert steps > 2, "it was copied in one go"
    assert manifest.counts == {"contents": ROWS}
    assert (manifest.epoch, manifest.taken_at) == (4, "2026-03-01T12:00:00.000+00:00")
    with closing(sqlite3.connect(tmp_path / "b" / "mailwright.db")) as copy:
        ids = [row[0] for row in copy.execute("SELECT id FROM contents ORDER BY id")]
    assert ids == list(range(1, ROWS + 1))
    assert verify(tmp_path / "b", nothing) == manifest


def test_it_rests_after_every_step_for_as_long_as_that_took_but_not_for_long(
    state: State, tmp_path: Path
) -> None:
    state.fill()
    rests: list[float] = []
    state.back_up(tmp_path / "b", rest=rests.append)
    assert len(rests) > 2
    assert all(0 < each <= backups.REST_MAX_S for each in rests)


@pytest.mark.parametrize("is_far", [False, True], ids=["linked", "copied"])
def test_bodies_outlive_their_removal_and_those_without_a_row_are_left_out(
    state: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_far: bool,
) -> None:
    if is_far:
        monkeypatch.setattr(backups, "_can_link", lambda _a, _b: False)
    kept = state.add(b"kept" * 30_000)
    forgotten = state.add(b"forgotten")
    state.connection.execute("DELETE FROM contents WHERE body = ?", (forgotten,))
    state.fill(5_000)

    def forget(what: str, _done: int, _total: int) -> None:
        if what == "database":  # the snapshot is open: retention comes by
            (state.folder / "bodies" / str(kept)).unlink(missing_ok=True)

    manifest = state.back_up(tmp_path / "b", forget)
    assert not (state.folder / "bodies" / str(kept)).exists()
    assert (tmp_path / "b" / "bodies" / str(kept)).read_bytes() == b"kept" * 30_000
    assert not (tmp_path / "b" / "bodies" / str(forgotten)).exists()
    assert (manifest.bodies, manifest.bodies_octets) == (1, 120_000)
    assert verify(tmp_path / "b", nothing) == manifest
    assert not list(state.folder.glob("backup*"))


def test_a_body_that_goes_between_snapshot_and_link_means_another_snapshot(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = backups._Links.add
    asked = []

    def add(links: backups._Links, name: str) -> None:
        asked.append(name)
        if len(asked) == 1:  # accepted after the links were made, forgotten before this
            state.connection.execute("DELETE FROM contents WHERE body = ?", (name,))
            (links.folder / name).unlink()
            links._linked.discard(name)
            (state.folder / "bodies" / name).unlink()
        added(links, name)

    monkeypatch.setattr(backups._Links, "add", add)
    state.add(b"gone")
    kept = state.add(b"kept")
    manifest = state.back_up(tmp_path / "b")
    assert manifest.counts == {"contents": 1}
    assert manifest.bodies == 1
    assert (tmp_path / "b" / "bodies" / str(kept)).read_bytes() == b"kept"


def test_a_row_whose_body_is_missing_for_good_is_no_backup(
    state: State, tmp_path: Path
) -> None:
    name = state.add(b"lost")
    (state.folder / "bodies" / str(name)).unlink()
    with pytest.raises(BackupError, match="missing"):
        state.back_up(tmp_path / "b")
    with pytest.raises(BackupError, match="no backup"):
        read_manifest(tmp_path / "b")


@pytest.mark.parametrize("name", ["contents", "of_aside"], ids=["read", "not read"])
def test_a_damaged_database_is_no_backup(
    state: State, tmp_path: Path, name: str
) -> None:
    state.fill()
    state.connection.executescript(
        "CREATE TABLE aside (x TEXT); CREATE INDEX of_aside ON aside (x);"
        "INSERT INTO aside SELECT x FROM contents;"
        "PRAGMA wal_checkpoint(TRUNCATE);"
    )
    [(root,)] = state.connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
    ).fetchall()
    octets = bytearray(state.path.read_bytes())
    octets[(root - 1) * 4096 : (root - 1) * 4096 + 64] = b"\xff" * 64
    state.path.write_bytes(octets)
    with pytest.raises(BackupError, match="the database is damaged"):
        state.back_up(tmp_path / "b")
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_links_of_a_killed_backup_are_swept_and_those_of_a_living_one_are_not(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_can_link", lambda _a, _b: False)
    with subprocess.Popen(["true"]) as ended:
        pass
    dead = state.folder / f"backup-links.{ended.pid}"
    alive = state.folder / f"backup-links.{os.getppid()}"
    dead.mkdir()
    alive.mkdir()
    state.back_up(tmp_path / "b")
    assert not dead.exists()
    assert alive.exists()


def test_a_folder_that_holds_something_is_refused(state: State, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "photo").touch()
    with pytest.raises(BackupError, match="not empty"):
        state.back_up(tmp_path / "b")


@pytest.mark.parametrize("part", ["mailwright.db", "bodies.list", "body"])
@pytest.mark.parametrize("how", ["changed", "shortened", "gone"])
def test_a_backup_that_is_not_what_was_written_is_noticed(
    state: State, tmp_path: Path, part: str, how: str
) -> None:
    name = state.add(b"body" * 100)
    state.back_up(tmp_path / "b")
    path = tmp_path / "b" / (f"bodies/{name}" if part == "body" else part)
    whole = path.read_bytes()
    path.unlink()
    if how == "changed":
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    elif how == "shortened":
        path.write_bytes(whole[:-1])
    with pytest.raises(BackupError):
        verify(tmp_path / "b", nothing)
    path.write_bytes(whole)
    verify(tmp_path / "b", nothing)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "{", '{"format": 1}', "null"], ids=repr
)
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BackupError):
        read_manifest(tmp_path)


def test_a_backup_of_a_later_version_is_refused(state: State, tmp_path: Path) -> None:
    state.connection.execute(
        "UPDATE schema_facts SET value = 99 WHERE name = 'version'"
    )
    state.back_up(tmp_path / "b")
    with pytest.raises(BackupError, match="schema 99"):
        read_manifest(tmp_path / "b")


def test_a_restored_database_goes_on_above_all_that_was_given_out(
    state: State, tmp_path: Path
) -> None:
    state.add(b"body")
    state.back_up(tmp_path / "b")
    new = tmp_path / "new"
    new.mkdir()
    database = new / "mailwright.db"
    assert is_empty(new, database)
    assert (
        put_in_place(prepare(tmp_path / "b", new, nothing), new, database, NOW) is None
    )
    assert not is_empty(new, database)
    with closing(sqlite3.connect(database)) as connection:
        facts = dict(connection.execute("SELECT name, value FROM schema_facts"))
        nodes = connection.execute("SELECT ids_end, seq FROM nodes").fetchall()
    assert (facts["epoch"], facts["restores"]) == (5, 1)
    assert nodes == [(100 + JUMP, 7 + JUMP)]
    assert not (new / "restoring").exists()


def test_a_state_that_is_replaced_is_kept_aside(state: State, tmp_path: Path) -> None:
    name = state.add(b"old")
    state.back_up(tmp_path / "b")
    state.add(b"newer")
    state.connection.close()
    prepared = prepare(tmp_path / "b", state.folder, nothing)
    replaced = put_in_place(prepared, state.folder, state.path, NOW)
    assert replaced is not None
    assert len(list(replaced.glob("bodies/*/*"))) == 2
    assert len(list(state.folder.glob("bodies/*/*"))) == 1
    assert (state.folder / "bodies" / str(name)).read_bytes() == b"old"
    with closing(sqlite3.connect(replaced / "mailwright.db")) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM contents").fetchall()
    assert rows == 2
