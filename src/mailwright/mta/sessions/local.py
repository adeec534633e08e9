"""Sessions that are led here: connect, greet, prepare, send."""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import Clock
from mailwright.errors import LocalProtocolError
from mailwright.mta.connection import Connection
from mailwright.mta.sessions.ready import Outcome, Refused, Workers
from mailwright.mta.sessions.session import Call, OnAttempt, TlsFailed
from mailwright.mta.smtp.client import ClientSession, State
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.transaction import Transaction
from mailwright.mta.tls import TlsContexts
from mailwright.reply import Origin, Phase, Reply, local_reply
from mailwright.site import TlsDemand

_log: Final = logging.getLogger(__name__)


class _Consignment(NamedTuple):
    """What a transaction is for."""

    parcel: Parcel
    edits: tuple[str, ...]


class LocalSession:
    """Implements :class:`~mailwright.mta.sessions.session.Session`.

    Attributes:
        connection: set once, before it is used.
    """

    connection: Connection

    def __init__(self, workers: Workers, on_attempt: OnAttempt) -> None:
        """``workers`` prepare; ``on_attempt`` is told of each end."""
        self._workers = workers
        self._on_attempt = on_attempt
        #: Batches that are being prepared, by a number of their own.
        self._preparing: dict[int, Sequence[Parcel]] = {}
        self._batches = 0
        self._unready = 0
        self._is_quitting = False

    @property
    def reply(self) -> Reply | None:
        """Why the session ended, when that was not our wish."""
        return self.connection.reply

    @property
    def tls(self) -> str:
        """Protocol version, ``""`` for clear text."""
        return self.connection.tls

    @property
    def has_dsn(self) -> bool:
        """Whether the receiver reports what it is asked to (RFC 3461)."""
        return self.connection.session.extensions.has_dsn

    @property
    def in_hand(self) -> int:
        """Parcels that were offered and have not ended."""
        return self._unready + self.connection.session.in_hand

    @property
    def remaining(self) -> int:
        """How many more may be offered."""
        return max(self.connection.session.remaining - self._unready, 0)

    def offer(self, parcels: Sequence[Parcel]) -> None:
        """Have ``parcels`` prepared and sent; each one's end is told once."""
        self._batches += 1
        self._preparing[self._batches] = parcels
        self._unready += len(parcels)
        self._workers.prepare(
            parcels,
            has_8bitmime=self.connection.session.extensions.has_8bitmime,
            on_ready=partial(self._on_ready, self._batches),
        )

    def quit(self) -> None:
        """Let what is in hand finish, then QUIT."""
        self._is_quitting = True
        if not self._unready:
            self.connection.quit()

    def recall(self, text: str) -> None:
        """Give back what is not on the wire; QUIT when the rest has ended."""
        self.connection.recall(text)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds or the session has ended."""
        await self.connection.wait_until(condition)

    async def end(self) -> None:
        """Wait until the socket is closed, a short time."""
        await self.connection.end()

    async def give_up(self, text: str) -> None:
        """Drop the connection; return when everything in hand has its end.

        Nothing may be offered any more.
        """
        self.connection.abort(text)
        reply = local_reply(421, "4.3.2", text, Phase.MAIL)
        for parcels in list(self._preparing.values()):
            self._unready -= len(parcels)
            for parcel in parcels:
                self._on_attempt(Attempt(parcel, End.NOT_OFFERED, reply))
        self._preparing.clear()
        self.connection.release()

    def ended(self, connection: Connection, ended: Ended) -> None:
        """Tell of the end of a transaction of ``connection``."""
        parcel, edits = cast("_Consignment", ended.key)
        extensions = connection.session.extensions
        self._on_attempt(
            Attempt(
                parcel,
                ended.end,
                ended.reply,
                connection.hop,
                connection.tls,
                edits,
                extensions.has_dsn,
            )
        )

    def _on_ready(self, batch: int, outcomes: Sequence[Outcome]) -> None:
        """Put on the wire what was prepared. A session that is over gives it back."""
        parcels = self._preparing.pop(batch, None)
        if parcels is None:
            return  # given up
        self._unready -= len(parcels)
        transactions = []
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            one = _loaded(parcel, outcome)
            if isinstance(one, Transaction):
                transactions.append(one)
            else:
                self._on_attempt(one)
        self.connection.offer(transactions)
        if self._is_quitting and not self._unready:
            self.connection.quit()


class LocalSessions:
    """Implements :class:`~mailwright.mta.sessions.session.Sessions` on this loop."""

    def __init__(
        self,
        workers: Workers,
        contexts: TlsContexts,
        clock: Clock,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_stop`` ends what the workers need."""
        self._workers = workers
        self._contexts = contexts
        self._clock = clock
        self._on_stop = on_stop
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Return after :meth:`stop`."""
        try:
            await self._stopped.wait()
        finally:
            self._on_stop()

    def stop(self) -> None:
        """End what sessions need; call it when none is open any more."""
        self._stopped.set()

    async def open(
        self, call: Call, on_attempt: OnAttempt
    ) -> LocalSession | Reply | TlsFailed:
        """Connect and greet; return a session ready for mail, or why there is none."""
        session = LocalSession(self._workers, on_attempt)
        try:
            async with asyncio.timeout(call.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(
                        ClientSession(call.terms, now=self._clock.steady()),
                        self._clock,
                        hop=call.hop,
                        on_ended=session.ended,
                        tick_s=call.tick_s,
                    ),
                    call.address,
                    call.port,
                    local_addr=(call.source, 0) if call.source else None,
                )
        except OSError as error:  # TimeoutError is one
            text = f"connecting to {call.hop}: {_reason(error)}"
            return local_reply(421, "4.4.1", text, Phase.CONNECT)
        try:
            failed = await self._lead(connection, call)
            if failed is None and connection.session.state is State.READY:
                session.connection = connection
                return session
            if failed is None:
                await connection.end()
        except BaseException:
            connection.abort("the connection was given up")
            raise
        connection.abort("no mail over this one")
        lost = local_reply(421, "4.4.2", f"lost {call.hop}", Phase.CONNECT)
        reply = failed or connection.reply or lost
        if reply.phase is Phase.TLS and reply.origin is Origin.LOCAL:
            return TlsFailed(reply)
        return reply

    async def _lead(self, connection: Connection, call: Call) -> Reply | None:
        """Wait until the session is ready or closed; return why TLS failed, if it did."""
        session = connection.session
        await connection.wait_until(lambda: session.state is not State.GREETING)
        if session.state is State.HANDSHAKE:
            is_required = call.terms.tls is TlsDemand.REQUIRED
            contexts = self._contexts
            context = contexts.verified if is_required else contexts.opportunistic
            try:
                await connection.start_tls(context, call.host, timeout_s=call.tls_s)
            except OSError as error:
                text = f"TLS with {connection.hop}: {_reason(error)}"
                return local_reply(454, "4.7.5", text, Phase.TLS)
            await connection.wait_until(lambda: session.state is not State.GREETING)
        return None


def _loaded(parcel: Parcel, outcome: Outcome) -> Transaction | Attempt:
    """Return what to offer of ``parcel``, or the attempt that ends it here."""
    if isinstance(outcome, Refused):
        return Attempt(parcel, outcome.end, outcome.reply)
    transaction = Transaction(
        _Consignment(parcel.without_large_body, outcome.edits),
        parcel.reverse_path,
        parcel.recipient,
        outcome.wire,
        outcome.size,
        outcome.has_8bit,
        parcel.notify,
        parcel.orcpt,
        parcel.ret,
        parcel.envid,
    )
    try:
        transaction.check()
    except LocalProtocolError as error:
        # No door lets such an address in: a bug of ours, which must not bounce mail.
        _log.error("delivery %d is not fit for the wire: %s", parcel.delivery, error)
        reply = local_reply(451, "4.3.0", str(error), Phase.DATA)
        return Attempt(parcel, End.REPLIED, reply)
    return transaction


def _reason(error: OSError) -> str:
    """Return a short text without addresses of this machine."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS error"
    if isinstance(error, TimeoutError):
        return "timed out"
    return os.strerror(error.errno).lower() if error.errno else "connection lost"
