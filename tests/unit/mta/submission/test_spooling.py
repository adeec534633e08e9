"""Slow clients with large messages hold disk, not memory; and the disk may fail."""

import asyncio
import errno
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from fakes.door import (
    MemoryPeer,
    codes,
    intake_of,
    make_ports,
    make_spools,
    memory_peer,
    open_settings,
    until,
)
from fakes.spool_files import FileMaker
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.door import DoorPorts
from mailwright.mta.submission.settings import DoorSettings
from mailwright.mta.submission.spool import Spools
from mailwright.store.health import Reserve

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
HEADER = b"From: a@example.com\r\n\r\n"
SMALL = HEADER + b"hello\r\n.\r\n"
BODY = b"0123456789abcdef\r\n" * 8_000  # 144 KB
NO_RESERVE = Reserve(0, share=0.0, inodes=0)
#: Everything over 1 KB goes to the file at once.
EAGER: dict[str, Any] = {"spool_keep_octets": 1_000, "spool_chunk_octets": 1}


def ports_with(files: FileMaker, *, max_open: int = 100, **options: Any) -> DoorPorts:
    return make_ports(
        spools=lambda budget: make_spools(budget, files.open, max_open), **options
    )


def drive(
    play: Callable[[MemoryPeer], Awaitable[None]],
    ports: DoorPorts,
    settings: DoorSettings | None = None,
) -> None:
    async def scene() -> None:
        async with memory_peer(settings or open_settings(**EAGER), ports) as peer:
            await peer.connect()
            assert codes(await peer.send(HELLO + ENVELOPE))[-1] == 354
            await play(peer)
        await until(lambda: ports.spools.open_files == 0)
        assert ports.budget.free == ports.budget.total
        assert ports.spools.loading.free == ports.spools.loading.total

    asyncio.run(scene())


async def answer(peer: MemoryPeer, octets: bytes) -> bytes:
    """Return what is said to ``octets``, when all work on them is done."""
    peer.session.data_received(octets)
    await until(lambda: peer.is_closed or peer._is_idle())
    return await peer.quiet()


# Memory.


async def trickle(folder: Path, settings: DoorSettings) -> tuple[int, int, int]:
    """Let 40 clients send 2 MB each, all at the same pace.

    Returns:
        Free octets of a budget of 64 MB and octets that Python holds, both when all have
        sent everything but the dot; and how many were then accepted as they were sent.
    """
    ports = make_ports(
        spools=lambda budget: Spools.in_folder(folder, NO_RESERVE, budget)
    )
    piece = b"0123456789abcde\r\n" * 6_000  # 102 KB
    async with asyncio.TaskGroup() as tasks:
        peers = [MemoryPeer(settings, ports, tasks) for _ in range(40)]
        for number, peer in enumerate(peers):
            await peer.connect()
            await peer.send(HELLO + ENVELOPE + HEADER + b"%d\r\n" % number)
        for _ in range(20):
            for peer in peers:
                await answer(peer, piece)
        free = ports.budget.free
        held, _ = tracemalloc.get_traced_memory()
        said = [codes(await answer(peer, b".\r\n")) for peer in peers]
        for peer in peers:
            peer.disconnect()
    bodies = {each.body for each in intake_of(ports).accepted}
    whole = {b"%d\r\n" % number + 20 * piece for number in range(40)}
    assert len(bodies) == said.count([250])
    return free, held, len(bodies & whole)


def measure(folder: Path, **changes: Any) -> tuple[int, int, int]:
    settings = open_settings(spool_hold_s=0.0, budget_wait_s=0.01, **changes)
    tracemalloc.start(1)
    try:
        return asyncio.run(trickle(folder, settings))
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_forty_slow_clients_with_2_mb_each_leave_memory_to_the_others(
    tmp_path: Path,
) -> None:
    free, held, accepted = measure(tmp_path)
    assert free > 60_000_000
    assert held < 12_000_000
    assert accepted == 40


@pytest.mark.slow
def test_a_door_that_keeps_content_in_memory_is_found_out(tmp_path: Path) -> None:
    """Control: without spooling the same clients hold all memory there is."""
    free, held, accepted = measure(tmp_path, spool_keep_octets=10**9)
    assert free < 4_000_000 or held > 60_000_000
    assert accepted < 40


def test_a_header_section_counts_for_what_may_stay() -> None:
    ports = ports_with(FileMaker())
    header = b"A: b\r\n" * 150 + b"\r\n"

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, header + b"x" * 200)
        assert len(header) <= 64_000_000 - ports.budget.free <= len(header) + 4
        assert codes(await answer(peer, b"\r\n.\r\n")) == [250]

    drive(play, ports)
    assert intake_of(ports).accepted[0].body == b"x" * 200 + b"\r\n"


def test_small_mail_makes_no_file() -> None:
    files = FileMaker()

    async def play(peer: MemoryPeer) -> None:
        content = HEADER + b"x" * 60_000
        for at in range(0, len(content), 1_000):
            await answer(peer, content[at : at + 1_000])
        assert codes(await answer(peer, b"\r\n.\r\n")) == [250]

    drive(play, ports_with(files), open_settings(spool_hold_s=0.0))
    assert files.files == []


def test_a_client_that_is_not_slow_is_written_in_large_chunks() -> None:
    files = FileMaker()

    async def play(peer: MemoryPeer) -> None:
        for piece in [HEADER, *[BODY] * 10]:
            await answer(peer, piece)
        assert codes(await answer(peer, b".\r\n")) == [250]

    ports = ports_with(files)
    drive(play, ports, open_settings(spool_hold_s=3_600.0))
    *chunks, tail = files.sizes
    assert min(chunks) >= 262_144
    assert tail < 262_144
    assert intake_of(ports).accepted[0].body == BODY * 10


def test_who_falls_silent_keeps_little_in_memory() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        assert ports.budget.free < 64_000_000 - len(BODY), (
            "for a chunk to come together"
        )
        await until(lambda: ports.budget.free > 63_999_000)
        assert codes(await answer(peer, b".\r\n")) == [250]

    drive(play, ports, open_settings(spool_hold_s=1.0))
    assert intake_of(ports).accepted[0].body == BODY


class ShiftedLoop(asyncio.SelectorEventLoop):
    """Its clock can be put forward."""

    shift_s = 0.0

    @override
    def time(self) -> float:
        return super().time() + self.shift_s


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_time_that_our_disk_takes_is_not_the_clients(is_ours: bool) -> None:
    files = FileMaker(gate=threading.Event() if is_ours else None)
    ports = ports_with(files)

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShiftedLoop)
        settings = open_settings(data_timeout_s=60, **EAGER)
        async with memory_peer(settings, ports) as peer:
            await peer.connect()
            await peer.send(HELLO + ENVELOPE)
            peer.session.data_received(HEADER + BODY)
            await until(files.waiting.is_set)
            if files.gate is None:
                await until(peer._is_idle)
            loop.shift_s += 3_600
            for _ in range(10):  # the timers that are due fire
                await asyncio.sleep(0)
            assert peer.is_closed is not is_ours
            if files.gate is not None:
                files.gate.set()
                await until(peer._is_idle)
                loop.shift_s += 31  # a look at the deadline: it has moved as well
                for _ in range(10):
                    await asyncio.sleep(0)
                assert codes(await answer(peer, b".\r\n")) == [250]
        await until(lambda: ports.spools.open_files == 0)

    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        runner.run(scene())


# Memory for the whole, when the dot has come.


def test_small_mail_does_not_wait_behind_large_mail() -> None:
    ports = make_ports(budget_octets=400_000)
    intake = intake_of(ports)
    intake.gate = asyncio.Event()

    async def scene() -> None:
        settings = open_settings(**EAGER)
        async with asyncio.TaskGroup() as tasks:
            peers = [MemoryPeer(settings, ports, tasks) for _ in range(3)]
            for peer in peers:
                await peer.connect()
                await peer.send(HELLO + ENVELOPE)
            first, second, small = peers
            first.session.data_received(HEADER + BODY + b".\r\n")
            await until(lambda: intake.begun == 1)
            await answer(second, HEADER + BODY)
            second.session.data_received(b".\r\n")
            small.session.data_received(SMALL)
            await until(lambda: intake.begun == 2)
            assert ports.budget.free > 200_000
            assert intake.gate is not None
            intake.gate.set()
            await until(lambda: len(intake.accepted) == 3)
            assert [len(each.body) for each in intake.accepted][2] == len(BODY)
            for peer in peers:
                assert codes(await peer.quiet()) == [250]
                peer.disconnect()

    asyncio.run(scene())


def test_one_message_may_be_larger_than_the_share_of_large_mail() -> None:
    ports = make_ports(budget_octets=200_000)

    async def play(peer: MemoryPeer) -> None:
        for at in range(0, len(BODY), 9_000):
            await answer(peer, (HEADER if at == 0 else b"") + BODY[at : at + 9_000])
        assert codes(await answer(peer, b".\r\n")) == [250]

    drive(play, ports)
    assert intake_of(ports).accepted[0].body == BODY


def test_without_memory_for_the_whole_it_is_put_off_and_the_next_one_works() -> None:
    ports = make_ports(budget_octets=200_000)

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER)
        for at in range(0, len(BODY), 9_000):
            await answer(peer, BODY[at : at + 9_000])
        assert ports.budget.try_acquire(100_000)
        assert await answer(peer, b".\r\n") == (
            b"452 4.3.1 too much mail at once, try again later\r\n"
        )
        assert codes(await answer(peer, ENVELOPE + SMALL)) == [250, 250, 354, 250]
        ports.budget.release(100_000)

    drive(play, ports, open_settings(budget_wait_s=0.01, **EAGER))


def test_who_waits_for_memory_holds_as_little_as_possible() -> None:
    files = FileMaker()
    ports = ports_with(files, budget_octets=100_000)

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY[:60_000])
        assert ports.budget.try_acquire(39_000)
        # It does not fit beside what is held: that goes to the file, and then it does.
        assert await answer(peer, BODY[60_000:100_000]) == b""
        ports.budget.release(39_000)
        assert codes(await answer(peer, b"\r\n.\r\n")) == [452], "more than there is"

    keep = open_settings(
        spool_keep_octets=1_000, spool_hold_s=3_600, budget_wait_s=0.01
    )
    drive(play, ports, keep)
    assert files.sizes[0] >= 59_000


def test_who_falls_silent_makes_room_for_those_who_wait_for_memory() -> None:
    ports = make_ports(budget_octets=200_000)

    async def play(peer: MemoryPeer) -> None:
        budget = ports.budget
        await answer(peer, HEADER + BODY[:60_000])
        assert budget.try_acquire(100_000)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(budget.acquire(150_000, within_s=120))
            # It has not enough yet: nobody may overtake it, not even for nothing.
            await until(lambda: budget.free > 99_000)
            await until(peer._is_idle)
            budget.release(100_000)
            assert await waiting
        budget.release(150_000)
        assert codes(await answer(peer, b"\r\n.\r\n")) == [250]

    keep = open_settings(spool_keep_octets=1_000, spool_hold_s=1.0, budget_wait_s=0.01)
    drive(play, ports, keep)


# Disks that fail.


@pytest.mark.parametrize("failing", ["open", "write", "read"])
@pytest.mark.parametrize("healthy", [0, 1])
@pytest.mark.parametrize(
    ("number", "code", "enhanced"),
    [
        (errno.ENOSPC, 452, b"4.3.1"),
        (errno.EDQUOT, 452, b"4.3.1"),
        (errno.EMFILE, 452, b"4.3.1"),
        (errno.EIO, 451, b"4.3.0"),
        (errno.EROFS, 451, b"4.3.0"),
        (errno.EACCES, 451, b"4.3.0"),
    ],
)
def test_a_disk_that_fails_puts_the_message_off_after_its_dot(
    failing: str,
    healthy: int,
    number: int,
    code: int,
    enhanced: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = FileMaker(error=number, failing=failing, healthy=healthy)
    ports = ports_with(files)

    async def play(peer: MemoryPeer) -> None:
        assert await answer(peer, HEADER + BODY) == b""
        assert await answer(peer, BODY) == b""
        said = await answer(peer, b".\r\nRCPT TO:<x@example.net>\r\n")
        assert codes(said) == [code, 503], "the envelope is gone"
        assert said.startswith(b"%d %s " % (code, enhanced))
        assert b"/" not in said
        assert codes(await answer(peer, ENVELOPE + SMALL)) == [250, 250, 354, 250]
        files.error = 0
        wire = ENVELOPE + HEADER + BODY + b".\r\n"
        assert codes(await answer(peer, wire)) == [250, 250, 354, 250]
        assert peer.door.counts.failures == 0

    drive(play, ports)
    assert [len(each.body) for each in intake_of(ports).accepted] == [7, len(BODY)]
    assert files.are_closed
    assert "/var/secret" not in caplog.text


def test_a_disk_that_fails_at_the_last_chunk_is_no_acceptance() -> None:
    files = FileMaker(error=errno.ENOSPC, failing="write", healthy=1)
    ports = ports_with(files)

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        assert codes(await answer(peer, b"tail\r\n.\r\n")) == [452]

    drive(play, ports)
    assert intake_of(ports).begun == 0


def test_a_disk_that_takes_little_at_a_time_is_asked_again() -> None:
    ports = ports_with(FileMaker(chunk=10_007))

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        assert codes(await answer(peer, b"tail\r\n.\r\n")) == [250]

    drive(play, ports)
    assert intake_of(ports).accepted[0].body == BODY + b"tail\r\n"


def test_a_file_that_gives_back_less_is_no_acceptance() -> None:
    files = FileMaker()
    ports = ports_with(files)

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        files.files[0].truncate(100)
        files.files[0].seek(100)
        assert codes(await answer(peer, b"tail\r\n.\r\n")) == [451]

    drive(play, ports)
    assert intake_of(ports).begun == 0


def test_over_the_bound_of_open_files_a_message_is_put_off() -> None:
    ports = ports_with(FileMaker(), max_open=1)

    async def scene() -> None:
        async with asyncio.TaskGroup() as tasks:
            peers = [MemoryPeer(open_settings(**EAGER), ports, tasks) for _ in range(2)]
            for peer in peers:
                await peer.connect()
                await peer.send(HELLO + ENVELOPE)
                await answer(peer, HEADER + BODY)
            assert ports.spools.open_files == 1
            first, second = peers
            assert codes(await answer(second, b".\r\n")) == [452]
            assert codes(await answer(second, ENVELOPE + SMALL)) == [250, 250, 354, 250]
            assert codes(await answer(first, b".\r\n")) == [250]
            await until(lambda: ports.spools.open_files == 0)
            wire = ENVELOPE + HEADER + BODY + b".\r\n"
            assert codes(await answer(second, wire)) == [250, 250, 354, 250]
            for peer in peers:
                peer.disconnect()

    asyncio.run(scene())


@pytest.mark.parametrize("is_too_big", [False, True])
def test_what_is_refused_gives_its_file_back_before_its_end(is_too_big: bool) -> None:
    ports = ports_with(FileMaker())

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        assert ports.spools.open_files == 1
        if is_too_big:
            await answer(peer, BODY)
            await until(lambda: ports.spools.open_files == 0)
            assert codes(await answer(peer, b".\r\n")) == [552]
        else:
            assert codes(await answer(peer, b"stray\n")) == [550]
            assert peer.is_closed

    drive(play, ports, open_settings(max_message_octets=200_000, **EAGER))


# Clients that go away.


def test_a_disconnect_closes_the_file() -> None:
    files = FileMaker()

    async def play(peer: MemoryPeer) -> None:
        await answer(peer, HEADER + BODY)
        assert not files.are_closed
        peer.disconnect()

    drive(play, ports_with(files))
    assert len(files.files) == 1
    assert files.are_closed


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_file_is_never_closed_under_a_write(is_cancelled: bool) -> None:
    files = FileMaker(gate=threading.Event())
    ports = ports_with(files)

    async def play(peer: MemoryPeer) -> None:
        assert files.gate is not None
        assert peer.task is not None
        peer.session.data_received(HEADER + BODY)
        await until(files.waiting.is_set)
        if is_cancelled:
            peer.task.cancel()
            await until(peer.task.done)
            assert ports.spools.open_files == 1, "it still takes a descriptor"
        else:
            peer.disconnect()
        assert not files.are_closed
        files.gate.set()
        await until(lambda: files.are_closed)

    drive(play, ports)
    assert not files.files[0].was_closed_under_a_write
    assert intake_of(ports).begun == 0


def test_nothing_is_read_from_a_client_while_its_content_is_written() -> None:
    files = FileMaker(gate=threading.Event())

    async def play(peer: MemoryPeer) -> None:
        assert files.gate is not None
        peer.session.data_received(HEADER + BODY)
        await until(files.waiting.is_set)
        conversation = peer.session.conversation
        before = conversation._inflow.octets
        peer.session.data_received(BODY * 2)
        await peer.quiet()
        assert conversation._inflow.octets == before + 2 * len(BODY)
        assert peer.transport.is_paused
        files.gate.set()
        assert codes(await answer(peer, b".\r\n")) == [250]
        assert not peer.transport.is_paused

    drive(play, ports_with(files))


def test_the_share_of_large_mail_is_half_of_memory(tmp_path: Path) -> None:
    spools = Spools.in_folder(tmp_path, NO_RESERVE, ByteBudget(100))
    assert spools.loading.total == 50
