"""The courier: carries deliveries to a site, one connection per call.

:meth:`Courier.carry` is the whole life of a connection: open it, take parcels from the
feed, have them edited and signed beside the loop, put them through, settle each, QUIT. While
some parcels are in flight the next are claimed and prepared, so that a pipelined
connection never waits for them; how many are held ahead follows the receiver's pace
(:class:`~mailwright.mta.window.Window`), because what a crash makes ambiguous is what
was held.

Promises: nothing is taken without a connection; what was taken is settled exactly once,
however the call ends; content leaves octet for octet as it was prepared.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

from mailwright.accounts.directory import Source
from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import Clock
from mailwright.errors import LocalProtocolError
from mailwright.ids import DeliveryId
from mailwright.mta.connection import Connection
from mailwright.mta.dialing import Dialer
from mailwright.mta.ports import Feed
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.transaction import Transaction
from mailwright.mta.window import Window
from mailwright.mta.workers.ready import Outcome, Refused, Workers
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Site

_log: Final = logging.getLogger(__name__)
_NOT_SENT: Final = local_reply(
    421, "4.3.2", "connection ended before it was offered", Phase.MAIL
)
_RECALLED: Final = "it was stopped before it was offered"


def _never() -> bool:
    return False


class _Consignment(NamedTuple):
    """What a transaction is for."""

    parcel: Parcel
    edits: tuple[str, ...]


class Courier:
    """Carries mail to sites. One for the node; any number of calls run side by side."""

    def __init__(
        self,
        dialer: Dialer,
        workers: Workers,
        clock: Clock,
        is_stopped: Callable[[], bool] = _never,
    ) -> None:
        """``is_stopped`` says whether all mail is: nothing is put on the wire then."""
        self._dialer = dialer
        self._workers = workers
        self._clock = clock
        self._is_stopped = is_stopped
        self._is_stopping = False
        self._open: dict[Connection, _Run] = {}

    def stop(self) -> None:
        """Take nothing more from any feed; what is in hand finishes, then QUIT."""
        self._is_stopping = True

    def recall(self) -> None:
        """Give back at once what is not on the wire; what is there ends, then QUIT."""
        for connection in list(self._open):
            connection.recall(_RECALLED)

    def recall_of(self, concerns: Callable[[Parcel], bool]) -> None:
        """Do so on each connection that holds a parcel which ``concerns`` names.

        What else such a connection holds is given back with it, and is due at once.
        """
        for connection, run in list(self._open.items()):
            if any(concerns(parcel) for parcel in run.in_hand.values()):
                connection.recall(_RECALLED)

    async def carry(self, site: Site, source: Source, feed: Feed) -> Reply | None:
        """Open one connection from ``source`` to ``site`` and work through ``feed``.

        Returns:
            Why there was no connection or why it ended badly; ``None`` when it ended
            because the feed was empty, its messages were used up, or we are stopping.
        """
        run = _Run(self._clock, feed)
        opened = await self._dialer.open(site, source, run.on_ended)
        if isinstance(opened, Reply):
            return opened
        self._open[opened] = run
        try:
            await self._pump(run, opened, feed)
            await opened.end()
        finally:
            del self._open[opened]
            # Cancelled, or a port failed: whatever is in hand gets its end now.
            opened.abort("the connection was given up")
        return opened.reply

    async def _pump(self, run: "_Run", connection: Connection, feed: Feed) -> None:
        session, window = connection.session, run.window
        while session.remaining and not self._is_stopping:
            want = window.room(session.in_hand)
            if not want:
                await connection.wait_until(lambda: window.room(session.in_hand) > 0)
                continue
            parcels = await feed.take(min(want, session.remaining))
            if not parcels:
                break
            run.took(parcels)
            await self._put_through(run, connection, parcels)
        connection.quit()
        await connection.wait_until(lambda: False)

    async def _put_through(
        self, run: "_Run", connection: Connection, parcels: Sequence[Parcel]
    ) -> None:
        """Have ``parcels`` prepared and offer what came of them."""
        has_8bitmime = connection.session.extensions.has_8bitmime
        try:
            outcomes = await self._workers.prepare(parcels, has_8bitmime=has_8bitmime)
        except BaseException:
            _give_back(run, parcels)
            raise
        if self._is_stopped():  # since they were taken
            _give_back(run, parcels)
            return
        transactions = []
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            one = _loaded(parcel, outcome)
            if isinstance(one, Transaction):
                transactions.append(one)
            else:
                run.settle(one)
        run.began(connection.session.in_hand)
        connection.offer(transactions)


def _give_back(run: "_Run", parcels: Sequence[Parcel]) -> None:
    for parcel in parcels:
        run.settle(Attempt(parcel, End.NOT_OFFERED, _NOT_SENT))


class _Run:
    """One call of ``carry``: turns ends of transactions into settled attempts.

    Attributes:
        in_hand: what was taken and is not settled.
    """

    __slots__ = ("_clock", "_feed", "in_hand", "window")

    def __init__(self, clock: Clock, feed: Feed) -> None:
        self._clock = clock
        self._feed = feed
        self.window = Window()
        self.in_hand: dict[DeliveryId, Parcel] = {}

    def took(self, parcels: Sequence[Parcel]) -> None:
        self.in_hand.update((parcel.delivery, parcel) for parcel in parcels)

    def settle(self, attempt: Attempt) -> None:
        del self.in_hand[attempt.parcel.delivery]
        self._feed.settle(attempt)

    def began(self, in_hand: int) -> None:
        self.window.began(self._clock.steady(), in_hand)

    def on_ended(self, connection: Connection, ended: Ended) -> None:
        parcel, edits = cast("_Consignment", ended.key)
        self.window.ended(self._clock.steady())
        self.settle(
            Attempt(
                parcel,
                ended.end,
                ended.reply,
                connection.hop,
                connection.tls,
                edits,
                connection.session.extensions.has_dsn,
            )
        )


def _loaded(parcel: Parcel, outcome: Outcome) -> Transaction | Attempt:
    """Return what to offer of ``parcel``, or the attempt that ends it here."""
    if isinstance(outcome, Refused):
        return Attempt(parcel, outcome.end, outcome.reply)
    transaction = Transaction(
        _Consignment(parcel, outcome.edits),
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
