"""The courier: carries deliveries to a site, one session per call.

:meth:`Courier.carry` is the whole life of a session: open it, take parcels from the
feed, offer them, settle each, QUIT. While some parcels are in flight the next are claimed
and prepared, so that a pipelined connection never waits for them; how many are held ahead
follows the receiver's pace (:class:`~mailwright.mta.window.Window`), because what a crash
makes ambiguous is what was held.

Promises: nothing is taken without a connection; what was taken is settled exactly once,
however the call ends; content leaves octet for octet as it was prepared.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mailwright.accounts.directory import Source
from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import Clock
from mailwright.ids import DeliveryId
from mailwright.mta.dialing import Dialer
from mailwright.mta.ports import Feed
from mailwright.mta.sessions.session import Session
from mailwright.mta.window import Window
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Site

_NOT_SENT: Final = local_reply(
    421, "4.3.2", "connection ended before it was offered", Phase.MAIL
)
_RECALLED: Final = "it was stopped before it was offered"


def _never() -> bool:
    return False


class Courier:
    """Carries mail to sites. One for the node; any number of calls run side by side."""

    def __init__(
        self,
        dialer: Dialer,
        clock: Clock,
        is_stopped: Callable[[], bool] = _never,
    ) -> None:
        """``is_stopped`` says whether all mail is: nothing is put on the wire then."""
        self._dialer = dialer
        self._clock = clock
        self._is_stopped = is_stopped
        self._is_stopping = False
        self._open: dict[Session, _Run] = {}

    def stop(self) -> None:
        """Take nothing more from any feed; what is in hand finishes, then QUIT."""
        self._is_stopping = True

    def recall(self) -> None:
        """Give back at once what is not on the wire; what is there ends, then QUIT."""
        for session in list(self._open):
            session.recall(_RECALLED)

    def recall_of(self, concerns: Callable[[Parcel], bool]) -> None:
        """Do so in each session that holds a parcel which ``concerns`` names.

        What else such a session holds is given back with it, and is due at once.
        """
        for session, run in list(self._open.items()):
            if any(concerns(parcel) for parcel in run.in_hand.values()):
                session.recall(_RECALLED)

    async def carry(self, site: Site, source: Source, feed: Feed) -> Reply | None:
        """Open one connection from ``source`` to ``site`` and work through ``feed``.

        Returns:
            Why there was no connection or why it ended badly; ``None`` when it ended
            because the feed was empty, its messages were used up, or we are stopping.
        """
        run = _Run(self._clock, feed)
        session = await self._dialer.open(site, source, run.on_attempt)
        if isinstance(session, Reply):
            return session
        self._open[session] = run
        try:
            await self._pump(run, session, feed)
            await session.end()
        finally:
            # Cancelled, or a port failed: whatever is in hand gets its end now.
            try:
                await session.give_up("the connection was given up")
            finally:
                del self._open[session]
                run.in_hand.clear()  # the feed knows what to do with the rest
        return session.reply

    async def _pump(self, run: "_Run", session: Session, feed: Feed) -> None:
        window = run.window
        while session.remaining and not self._is_stopping:
            want = window.room(session.in_hand)
            if not want:
                await session.wait_until(lambda: window.room(session.in_hand) > 0)
                continue
            parcels = await feed.take(min(want, session.remaining))
            if not parcels:
                break
            run.took(parcels)
            if self._is_stopped():  # since they were asked for
                _give_back(run, parcels)
                break
            run.began(session.in_hand)
            session.offer(parcels)
            del parcels  # the session knows how long it needs their bodies
        session.quit()
        await session.wait_until(lambda: False)


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
        for parcel in parcels:
            self.in_hand[parcel.delivery] = parcel.without_large_body

    def settle(self, attempt: Attempt) -> None:
        del self.in_hand[attempt.parcel.delivery]
        self._feed.settle(attempt)

    def began(self, in_hand: int) -> None:
        self.window.began(self._clock.steady(), in_hand)

    def on_attempt(self, attempt: Attempt) -> None:
        if attempt.parcel.delivery in self.in_hand:  # else nobody waits any more
            self.window.ended(self._clock.steady())
            self.settle(attempt)
