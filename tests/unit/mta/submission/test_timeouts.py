"""Who is slow is let go in time; our own work is never cut by our own clock."""

import asyncio
from collections.abc import Awaitable, Callable

from fakes.door import (
    MemoryPeer,
    codes,
    intake_of,
    make_ports,
    memory_peer,
    open_settings,
)
from fakes.jumping_loop import run_jumping
from mailwright.mta.submission.door import DoorPorts

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
CONTENT = b"From: a@example.com\r\n\r\nhello\r\n.\r\n"


def drive(
    play: Callable[[MemoryPeer], Awaitable[None]], ports: DoorPorts | None = None
) -> None:
    async def scene() -> None:
        settings = open_settings(command_timeout_s=300, data_timeout_s=1_200)
        async with memory_peer(settings, ports or make_ports()) as peer:
            await peer.connect()
            await peer.send(HELLO)
            await play(peer)

    run_jumping(scene())


def now() -> float:
    return asyncio.get_running_loop().time()


async def ended(peer: MemoryPeer) -> float:
    """Return after how many seconds the session ended."""
    begun = now()
    assert peer.task is not None
    await peer.task
    return now() - begun


def test_who_says_nothing_is_let_go_after_the_command_timeout() -> None:
    async def play(peer: MemoryPeer) -> None:
        assert 299 < await ended(peer) < 302
        assert await peer.quiet() == b"421 4.4.2 timeout, closing\r\n"
        assert peer.door.counts.timeouts == 1

    drive(play)


def test_a_trickle_of_octets_does_not_move_the_deadline_of_a_command() -> None:
    async def play(peer: MemoryPeer) -> None:
        begun = now()
        said = b""
        while not peer.is_closed:
            said += await peer.send(b"x")
            await asyncio.sleep(20)
        assert now() - begun < 330
        assert codes(said + await peer.quiet()) == [421]

    drive(play)


def test_each_command_has_the_whole_time() -> None:
    async def play(peer: MemoryPeer) -> None:
        for _ in range(10):
            await asyncio.sleep(290)
            assert codes(await peer.send(b"NOOP\r\n")) == [250]

    drive(play)


def test_a_message_has_a_deadline_as_a_whole() -> None:
    ports = make_ports()

    async def play(peer: MemoryPeer) -> None:
        await peer.send(ENVELOPE + b"From: a@example.com\r\n\r\n")
        begun = now()
        while not peer.is_closed:
            await peer.send(b"line\r\n")
            await asyncio.sleep(60)
        assert 1_190 < now() - begun < 1_600

    drive(play, ports)
    assert intake_of(ports).accepted == []
    assert ports.budget.free == 64_000_000


def test_our_own_commit_may_take_any_time() -> None:
    ports = make_ports()
    intake = intake_of(ports)
    intake.gate = asyncio.Event()

    async def play(peer: MemoryPeer) -> None:
        await peer.send(ENVELOPE)
        peer.session.data_received(CONTENT)
        await asyncio.sleep(5_000)
        assert not peer.is_closed
        assert intake.gate is not None
        intake.gate.set()
        assert codes(await peer.quiet()) == [250]
        assert codes(await peer.send(b"NOOP\r\n")) == [250]
        assert 299 < await ended(peer) < 332, "then the client's time counts again"

    drive(play, ports)
    assert len(intake.accepted) == 1
