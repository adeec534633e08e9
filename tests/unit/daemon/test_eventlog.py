"""The events file: whole lines, each event once, whatever happens to the file."""

import asyncio
import errno
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.queueing import make_directory
from fakes.running_node import DOMAIN, message, running_node
from mailwright.clock import ManualClock
from mailwright.daemon import eventlog
from mailwright.daemon.eventlog import EventFile, line_of
from mailwright.daemon.line_file import LineFile
from mailwright.events.log import About, Event, write_event
from mailwright.events.tables import events_of
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, MessageId, Subject, TenantId
from mailwright.queue.tables import finished_of
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import unit
from mailwright.store.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ABOUT = About(TenantId(1), MessageId(7), DeliveryId(8), Subject(b"s" * 16), NOON.date())


def make_event(**data: object) -> Event:
    return Event("evt_1_2", NOON, EventType.DEFERRED, ABOUT, data)


def decoded(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("recipient", "with_address", "shown"),
    [
        ("ann@example.net", False, "***@example.net"),
        ("ann@example.net", True, "ann@example.net"),
        ('"a@b"@example.net', False, "***@example.net"),
        (None, False, None),
        (None, True, None),
    ],
)
def test_addresses_are_masked_unless_asked(
    recipient: str | None, with_address: bool, shown: str | None
) -> None:
    line = line_of(make_event(), recipient, make_directory(), with_address=with_address)
    assert decoded(line)["recipient"] == shown


@pytest.mark.parametrize(
    "text", ["\r\n", '\n{"event":"forged"}', "\u2028\x85\x1b[2K", "\ud800", 'a"b\\']
)
def test_what_a_receiver_says_ends_no_line(text: str) -> None:
    line = line_of(make_event(text=text), None, make_directory(), with_address=False)
    assert decoded(line)["text"] == text
    assert line.isascii()
    assert all(32 <= octet < 127 for octet in line[:-1])


def test_names_stand_for_ids_and_data_replaces_nothing_that_identifies() -> None:
    event = make_event(source=1, code=450, id="forged", event="forged", tenant="forged")
    found = decoded(line_of(event, None, make_directory(), with_address=False))
    assert found["source"] == "main"
    assert found["code"] == 450
    assert (found["id"], found["event"], found["tenant"]) == ("evt_1_2", "deferred", "")
    assert found["message"] == "msg_20260301_0000000000007"
    assert found["subject"] == (b"s" * 16).hex()


# -- the file ---------------------------------------------------------------------------


def test_a_torn_line_is_ended_before_another_begins(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"whole":1}\n{"to')
    file = LineFile(path)
    file.append(b'{"next":1}\n')
    file.close()
    assert path.read_bytes() == b'{"whole":1}\n{"to\n{"next":1}\n'


def test_lines_that_found_no_room_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    file.append(b"one\n")
    write, left = os.write, [2]

    def full(descriptor: int, octets: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return write(descriptor, octets[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append(b"two\nthree\n")
    monkeypatch.setattr(os, "write", write)
    assert path.read_bytes() == b"one\n"
    file.append(b"two\nthree\n")
    file.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none" / "x", "/dev/null"):
        with pytest.raises(OSError, match=r"regular file|directory"):
            LineFile(Path(path)).open()


def test_others_than_the_service_and_its_group_may_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    file.open()
    file.close()
    assert path.stat().st_mode & 0o137 == 0


# -- following --------------------------------------------------------------------------


class Following:
    """An event log on a real store, and its file."""

    def __init__(self, store: Store, clock: ManualClock, path: Path) -> None:
        self.store = store
        self.clock = clock
        self.path = path
        self.written = 0
        self.file = EventFile(
            LineFile(path), store, clock, make_directory, with_addresses=False
        )

    async def happen(self, count: int = 1) -> None:
        for _ in range(count):
            self.written += 1
            now = self.clock.now()
            data = {"n": self.written}
            await self.store.run(
                unit(write_event(self.store.node, now, EventType.RECEIVED, ABOUT, data))
            )

    def numbers(self, path: Path | None = None) -> list[int]:
        lines = (path or self.path).read_bytes().splitlines(keepends=True)
        return [decoded(line)["n"] for line in lines]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():
                await asyncio.sleep(0.005)

    def is_caught_up(self) -> bool:
        octets = self.path.read_bytes()
        # While lines are being written, the last one may be here in part.
        if not octets.endswith(b"\n"):
            return False
        last = octets.splitlines(keepends=True)[-1]
        return bool(decoded(last)["n"] == self.written)

    async def caught_up(self) -> None:
        await self.until(self.is_caught_up)

    async def follow(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run the follower while ``body`` runs, and stop it in order."""
        await self.file.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.file.run())
            try:
                await body()
            finally:
                await self.file.stop(within_s=120)
                running.cancel()


def drive(
    folder: Path, *bodies: Callable[[Following], Awaitable[None]]
) -> Following | None:
    """Run each of ``bodies`` on the same folder, one after the other, like restarts."""
    following = None

    async def start(body: Callable[[Following], Awaitable[None]], before: int) -> None:
        nonlocal following
        clock = ManualClock(NOON)
        store = await Store.open(
            StoreSettings(folder / "e.db", folder, "n"),
            clock=clock,
            day_tables=(finished_of, events_of),
        )
        try:
            following = Following(store, clock, folder / "events.jsonl")
            following.written = before
            await body(following)
        finally:
            await store.close()

    for body in bodies:
        asyncio.run(start(body, following.written if following else 0))
    return following


@pytest.fixture(autouse=True)
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "LOOK_S", 0.01)
    monkeypatch.setattr(eventlog, "RETRY_S", 0.01)
    monkeypatch.setattr(eventlog, "PAGE", 10)


def test_every_event_is_there_once_also_over_a_restart(tmp_path: Path) -> None:
    async def body(log: Following) -> None:
        async def happen() -> None:
            await log.happen(35)

        await log.follow(happen)
        await log.happen(3)  # between the stop of the file and that of the node

    log = drive(tmp_path, body, body, body)
    assert log is not None
    # What came after the third stop of the file waits for the next start.
    assert log.numbers() == [*range(1, 3 * 38 - 2)]


def test_it_begins_at_the_present_and_goes_on_after_midnight(tmp_path: Path) -> None:
    async def body(log: Following) -> None:
        await log.happen(5)

        async def happen() -> None:
            await log.happen(2)
            log.clock.advance(timedelta(days=1).total_seconds())
            await log.store.ensure_day(log.clock.now().date())
            await log.happen(2)

        await log.follow(happen)
        assert log.numbers() == [6, 7, 8, 9]

    drive(tmp_path, body)


def test_a_file_that_was_renamed_gets_no_more_lines_and_a_new_one_does(
    tmp_path: Path,
) -> None:
    old = tmp_path / "events.jsonl.1"

    async def body(log: Following) -> None:
        async def happen() -> None:
            await log.happen(3)
            await log.caught_up()
            log.path.rename(old)
            log.file.reopen()
            await log.until(log.path.exists)  # at once, also without an event
            await log.happen(2)

        await log.follow(happen)
        assert log.numbers(old) == [1, 2, 3]
        assert log.numbers() == [4, 5]

    drive(tmp_path, body)


def test_a_file_that_fails_is_told_of_once_and_caught_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mailwright")
    append, is_full = LineFile.append, [False]

    def maybe(self: LineFile, lines: bytes) -> None:
        if is_full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, lines)

    monkeypatch.setattr(LineFile, "append", maybe)

    async def body(log: Following) -> None:
        async def happen() -> None:
            await log.happen(1)
            await log.caught_up()
            is_full[0] = True
            await log.happen(25)
            await log.until(lambda: log.file.statistics().is_failing)
            await asyncio.sleep(0.1)  # some more tries
            is_full[0] = False
            await log.caught_up()
            await log.until(lambda: not log.file.statistics().is_failing)

        await log.follow(happen)
        assert log.numbers() == [*range(1, 27)]

    drive(tmp_path, body)
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [
        "the events file cannot be written",
        "the events file is written again",
    ]


def test_lines_are_on_the_disk_before_their_place_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, keep = os.fdatasync, EventFile._keep

    def synced(descriptor: int) -> None:
        order.append("sync")
        sync(descriptor)

    def kept(self: EventFile, cursor: str) -> object:
        order.append("keep")
        return keep(self, cursor)

    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(EventFile, "_keep", kept)

    async def body(log: Following) -> None:
        async def happen() -> None:
            await log.happen(25)

        await log.follow(happen)

    drive(tmp_path, body)
    assert order.count("sync") >= 3
    # Each sync is followed by its note, the last one too.
    assert "sync sync" not in " ".join(order)
    assert order[-1] == "keep"


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    async def body(log: Following) -> None:
        log.path.mkdir()
        with pytest.raises(OSError, match="directory"):
            await log.file.open()

    drive(tmp_path, body)


def test_a_store_that_ends_meanwhile_ends_the_thread_too(tmp_path: Path) -> None:
    async def body(log: Following) -> None:
        await log.file.open()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(log.file.run())
            await log.happen(1)
            await log.caught_up()
            await log.store.close()
            running.cancel()
        await log.file.stop(within_s=120)
        assert log.file._ended.is_set()

    drive(tmp_path, body)


def test_a_whole_node_writes_what_became_of_a_message(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    async def main() -> None:
        more = f'[log]\nevents_file = "{path}"\n'
        async with running_node(tmp_path, more=more) as node:
            answer = await node.http.post("/v1/messages", json=message(f"ann@{DOMAIN}"))
            assert answer.status_code == 201
            await node.wait_events("delivered")
        lines = [decoded(line) for line in path.read_bytes().splitlines(keepends=True)]
        received, delivered = lines
        assert received["event"] == "received"
        assert delivered["event"] == "delivered"
        assert delivered["message"] == answer.json()["id"]
        assert delivered["tenant"] == "acme"
        assert delivered["source"] == "main"
        assert delivered["recipient"] == f"***@{DOMAIN}"
        assert "ann" not in path.read_text()

    asyncio.run(main())
