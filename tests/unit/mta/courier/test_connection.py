"""A connection on a transport that only notes what it is told."""

import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from mailwright.clock import ManualClock
from mailwright.mta.connection import Connection
from mailwright.mta.smtp.client import ClientSession, Terms
from mailwright.mta.smtp.pipeline import SLICE_OCTETS, Ended
from mailwright.mta.smtp.stuffing import stuff
from mailwright.mta.smtp.transaction import Transaction
from mailwright.site import Pipelining, TlsDemand

GREETING = b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n"
GROUP = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


class NotedTransport(asyncio.Transport):
    """Pauses its protocol when more than a slice is waiting, as real ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.waiting = 0
        self.protocol: Connection | None = None
        self.is_aborted = False
        self._is_closing = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.protocol is not None
        self.writes.append(bytes(data))
        self.waiting += len(data)
        if self.waiting >= SLICE_OCTETS:
            self.protocol.pause_writing()

    def drain(self) -> None:
        assert self.protocol is not None
        self.waiting = 0
        self.protocol.resume_writing()

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def close(self) -> None:
        self._is_closing = True

    @override
    def abort(self) -> None:
        self.is_aborted = self._is_closing = True


def connected(
    clock: ManualClock, ended: list[Ended], pipelining: Pipelining
) -> tuple[Connection, NotedTransport]:
    terms = Terms("out.example.org", TlsDemand.NONE, pipelining, 100)
    connection = Connection(
        ClientSession(terms, now=clock.steady()),
        clock,
        hop="mx",
        on_ended=lambda _, end: ended.append(end),
        tick_s=0.001,
    )
    transport = NotedTransport()
    transport.protocol = connection
    connection.connection_made(transport)
    return connection, transport


def transaction(key: int, content: bytes) -> Transaction:
    wire = stuff(content)
    return Transaction(key, "a@example.net", "b@example.com", wire, len(content))


def drive(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(bounded())


def test_a_large_content_goes_in_slices_as_the_transport_takes_them() -> None:
    async def test() -> None:
        connection, transport = connected(ManualClock(), [], Pipelining.TRANSACTIONS)
        connection.data_received(GREETING)
        content = b"x" * 600_000 + b"\r\n"
        connection.offer([transaction(1, content), transaction(2, b"y\r\n")])
        transport.writes.clear()
        transport.drain()
        connection.data_received(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
        assert [len(piece) for piece in transport.writes] == [SLICE_OCTETS]
        transport.drain()
        assert [len(piece) for piece in transport.writes] == [SLICE_OCTETS] * 2
        transport.drain()
        assert b"".join(transport.writes) == content + b".\r\n" + GROUP

    drive(test)


def test_a_flight_is_one_write() -> None:
    async def test() -> None:
        connection, transport = connected(ManualClock(), [], Pipelining.TRANSACTIONS)
        connection.data_received(GREETING)
        connection.offer([transaction(n, b"%d\r\n" % n) for n in range(3)])
        transport.writes.clear()
        connection.data_received(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
        connection.data_received(b"250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go\r\n")
        assert transport.writes == [b"0\r\n.\r\n" + GROUP, b"1\r\n.\r\n" + GROUP]

    drive(test)


def test_a_passed_deadline_closes_without_waiting_for_the_peer() -> None:
    async def test() -> None:
        clock, ended = ManualClock(), list[Ended]()
        connection, transport = connected(clock, ended, Pipelining.COMMANDS)
        connection.data_received(GREETING)
        connection.offer([transaction(1, b"x\r\n")])
        clock.advance(300)
        await connection.wait_until(lambda: False)
        assert transport.is_closing()
        assert connection.reply is not None
        assert [one.key for one in ended] == [1]

    drive(test)


def test_a_condition_is_looked_at_after_everything_that_happens() -> None:
    async def test() -> None:
        connection, _ = connected(ManualClock(), [], Pipelining.NONE)
        asyncio.get_running_loop().call_soon(connection.data_received, GREETING)
        await connection.wait_until(lambda: connection.session.remaining == 100)
        await connection.wait_until(lambda: True)
        asyncio.get_running_loop().call_soon(connection.connection_lost, None)
        await connection.wait_until(lambda: False)
        assert connection.is_closed

    drive(test)
