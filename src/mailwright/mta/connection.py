"""A client session on a socket: the thin part between a transport and the rules.

One object per connection and no task: the loop calls it when octets come, and it feeds
them to its :class:`~mailwright.mta.smtp.client.ClientSession`, passes on the ends of
transactions, and writes what the session gives as long as the transport takes it. The
one coroutine that owns the connection awaits conditions with
:meth:`Connection.wait_until`.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, cast

from typing_extensions import override

from mailwright.clock import Clock
from mailwright.mta.smtp.client import (
    ClientSession,
    Closed,
    Event,
    State,
)
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Reply

#: Between two looks at the deadline of a connection.
TICK_S: Final = 1.0
#: A deadline can also come nearer (QUIT): it is looked at after so many ticks at most.
_MAX_TICKS: Final = 5
#: For the farewell of TLS and TCP; after that the socket is dropped.
CLOSE_S: Final = 2.0

#: Is told what ended, and on which connection.
OnConnectionEnded: TypeAlias = Callable[["Connection", Ended], None]


def _never() -> bool:
    return False


def _nobody(_connection: "Connection", _ended: Ended) -> None:
    """Be told of ends by a connection whose owner has let go of it."""


class Connection(asyncio.Protocol):
    """A connection to a receiver.

    Attributes:
        session: its rules; read it, but act through this class.
        hop: host name and address, for people.
        tls: protocol version, ``""`` for clear text.
        reply: why the session ended, when that was not our wish.
    """

    def __init__(
        self,
        session: ClientSession,
        clock: Clock,
        *,
        hop: str,
        on_ended: OnConnectionEnded,
        tick_s: float = TICK_S,
    ) -> None:
        """Make the protocol for one ``create_connection``.

        Args:
            session: new, waiting for the banner.
            clock: for deadlines.
            hop: see the class.
            on_ended: called with the connection for each transaction that ends; must
                not raise or block.
            tick_s: see :data:`TICK_S`.
        """
        self.session = session
        self.hop = hop
        self.tls = ""
        self.reply: Reply | None = None
        self._clock = clock
        self._on_ended = on_ended
        self._tick_s = tick_s
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._condition: Callable[[], bool] = _never
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the session has ended."""
        return self.session.state is State.CLOSED

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds or the session has ended.

        It is evaluated after everything that happens on the connection.
        """
        while not (self.is_closed or condition()):
            self._condition = condition
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter, self._condition = None, _never

    async def start_tls(
        self, context: ssl.SSLContext, host: str, *, timeout_s: float
    ) -> None:
        """Do the handshake that the session waits for, and go on inside TLS.

        Raises:
            OSError: it failed (``ssl.SSLError``, a reset), or timed out.
        """
        clear = self._transport
        if clear is None or clear.is_closing():
            raise ConnectionResetError("lost before the handshake")
        transport = await self._loop.start_tls(
            clear,
            self,
            context,
            server_hostname=host,
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=CLOSE_S,
        )
        if transport is None or self.is_closed:
            raise ConnectionResetError("lost in the handshake")
        self._transport = transport
        self.tls = transport.get_extra_info("ssl_object").version() or ""
        is_verified = context.verify_mode is ssl.CERT_REQUIRED
        now = self._clock.steady()
        self.session.on_tls(is_verified=is_verified, now=now)
        self._handle((), now)

    def offer(self, transactions: Iterable[Transaction]) -> None:
        """Hand transactions to the session; each one's end is reported once."""
        now = self._clock.steady()
        self._handle(self.session.offer(transactions, now=now), now)

    def quit(self) -> None:
        """Let what is in hand finish, then QUIT."""
        now = self._clock.steady()
        self.session.quit(now=now)
        self._handle((), now)

    def recall(self, text: str) -> None:
        """Give back what is not on the wire; QUIT when the rest has ended."""
        now = self._clock.steady()
        self._handle(self.session.recall(text, now=now), now)

    def abort(self, text: str) -> None:
        """End the session and drop the connection at once."""
        self._handle(self.session.abort(text), self._clock.steady())
        self._drop()

    async def end(self) -> None:
        """Close the socket and wait until it is closed, a short time at most."""
        if self._transport is None:
            return
        self._transport.close()
        await asyncio.wait((self._lost,), timeout=CLOSE_S)
        self._drop()

    def release(self) -> None:
        """Let go of whoever is told of ends; nothing may be offered any more.

        Each of the two holds the other: without this both would stay in memory, and the
        buffers of TLS with them, until a look for garbage.
        """
        self._on_ended = _nobody

    def _drop(self) -> None:
        # Python 3.11.2 (Debian 12) raises when a TLS transport that has closed is aborted.
        if self._transport is not None and not self._lost.done():
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._arm(self._clock.steady())

    @override
    def data_received(self, data: bytes) -> None:
        now = self._clock.steady()
        self._handle(self.session.receive(data, now=now), now)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        what = "reset" if isinstance(exc, ConnectionError) else "closed"
        if exc is not None and what == "closed":
            what = "lost"
        events = self.session.on_lost(f"connection {what} by the receiver")
        self._handle(events, self._clock.steady())

    @override
    def pause_writing(self) -> None:
        self._is_paused = True

    @override
    def resume_writing(self) -> None:
        self._is_paused = False
        self._handle((), self._clock.steady())

    def _handle(self, events: Sequence[Event], now: float) -> None:
        """Act on events, then write what there is to write."""
        for event in events:
            if isinstance(event, Ended):
                self._on_ended(self, event)
            elif isinstance(event, Closed):
                self.reply = event.reply
        self._flush(now)
        if self.session.state is State.CLOSED:
            self._disarm()
            if self._transport is not None:
                self._transport.close()
        elif self._timer is None:
            self._arm(now)
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self.is_closed or self._condition():
            waiter.set_result(None)

    def _flush(self, now: float) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        while not self._is_paused:
            octets = self.session.take_output(now=now)
            if not octets:
                return
            transport.write(octets)

    def _arm(self, now: float) -> None:
        deadline = self.session.deadline
        if deadline is not None:
            delay_s = min(max(deadline - now, self._tick_s), _MAX_TICKS * self._tick_s)
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.steady()
        events = self.session.on_time(now=now)
        self._handle(events, now)
