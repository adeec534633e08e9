"""A process that leads sessions, as the node's loop sees it.

Nothing is waited for but what only the process can know: offers, QUIT and recalls go out
at once, what is said in one turn of the loop in one write, and ends come back as they
happen. What a session would still take is known up to what is under way to it.

When the process dies, what it had in hand may have arrived or not, and nobody is left to
say: these attempts end as ``ORPHANED``.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

from typing_extensions import override

from mailwright.attempt import LARGE_OCTETS, Attempt, End, Parcel
from mailwright.mta.sessions.frames import Frames
from mailwright.mta.sessions.given import Given, Keys
from mailwright.mta.sessions.session import Call, OnAttempt, TlsFailed
from mailwright.mta.sessions.wire import (
    Abort,
    Closed,
    Command,
    Ends,
    Event,
    NotOpened,
    Open,
    Opened,
    Ping,
    Pong,
    Quit,
    Recall,
    pack_command,
    parse_events,
)
from mailwright.reply import Phase, Reply, local_reply

#: Octets that a process may tell at once: thousands of ends. One that was taken over
#: must not fill the node's memory.
TOLD_OCTETS_MAX: Final = 64_000_000
#: For a process to say how what it had in hand ended, once it is told to give up.
GIVE_UP_S: Final = 5.0
_DIED: Final = local_reply(
    421, "4.3.0", "the process that led the session ended", Phase.DOT
)
#: Of these the receiver never heard.
_HERE: Final = {End.UNSIGNABLE, End.UNRENDERED}
_OVER: Final = local_reply(421, "4.3.2", "session is over", Phase.MAIL)


def _never() -> bool:
    return False


class RemoteSession:
    """Implements :class:`~mailwright.mta.sessions.session.Session`.

    Attributes:
        reply: why the session ended, when that was not our wish.
        remaining: how many more may be offered.
    """

    def __init__(
        self, process: "SessionProcess", hop: str, opened: Opened, on_attempt: OnAttempt
    ) -> None:
        """Stand for the session with ``hop`` that ``process`` has opened."""
        self.reply: Reply | None = None
        self.remaining = opened.remaining
        self._process = process
        self._number = opened.session
        self._hop = hop
        self._tls = opened.tls
        self._has_dsn = opened.has_dsn
        self._on_attempt = on_attempt
        self._parcels: dict[int, Parcel] = {}
        self._offered = 0
        self._is_sealed = False
        self._is_closed = False
        self._condition: Callable[[], bool] = _never
        self._waiter: asyncio.Future[None] | None = None

    @property
    def in_hand(self) -> int:
        """Parcels that were offered and have not ended."""
        return len(self._parcels)

    def offer(self, parcels: Sequence[Parcel]) -> None:
        """Have ``parcels`` prepared and sent; each one's end is told once."""
        for parcel in parcels:
            self._parcels[parcel.delivery] = parcel.without_large_body
        self._offered += len(parcels)
        self.remaining = max(self.remaining - len(parcels), 0)
        if self._is_closed:
            self._give_back(len(parcels))
        else:
            self._process.offer(self._number, parcels)

    def quit(self) -> None:
        """Let what is in hand finish, then QUIT."""
        self._seal()
        self._say(Quit(self._number))

    def recall(self, text: str) -> None:
        """Give back what is not on the wire; QUIT when the rest has ended."""
        self._seal()
        self._say(Recall(self._number, text))

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds or the session has ended."""
        while not (self._is_closed or condition()):
            self._condition = condition
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter, self._condition = None, _never

    async def end(self) -> None:
        """Return at once: the process says that it is closed when the socket is."""

    async def give_up(self, text: str) -> None:
        """Drop the connection; return when everything in hand has its end."""
        self._say(Abort(self._number, text))
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self.wait_until(_never)
        except TimeoutError:
            self.orphan()

    def ended(self, ends: Ends) -> None:
        """Take what the process says about parcels of ours."""
        if not self._is_sealed:
            under_way = self._offered - ends.seen
            self.remaining = max(ends.remaining - under_way, 0)
        for ending in ends.endings:
            parcel = self._parcels.pop(ending.delivery, None)
            if parcel is not None:
                self._end(parcel, ending.end, ending.reply, ending.edits)
        if self._condition():
            self._wake()

    def closed(self, seen: int, reply: Reply | None) -> None:
        """Take the end of the session, which saw that many parcels."""
        self._is_closed = True
        self._seal()
        self.reply = reply
        self._give_back(self._offered - seen)
        self.orphan()
        self._wake()

    def orphan(self) -> None:
        """End what is in hand: nobody is left to say how it ended."""
        parcels, self._parcels = self._parcels, {}
        for parcel in parcels.values():
            self._end(parcel, End.ORPHANED, _DIED, ())

    def died(self) -> None:
        """Take the end of the process."""
        self.closed(self._offered, _DIED)

    def _give_back(self, count: int) -> None:
        """End the ``count`` parcels that were offered last: they went nowhere."""
        unseen = list(self._parcels.values())[len(self._parcels) - count :]
        for parcel in unseen:
            del self._parcels[parcel.delivery]
            self._end(parcel, End.NOT_OFFERED, self.reply or _OVER, ())

    def _end(
        self, parcel: Parcel, end: End, reply: Reply, edits: tuple[str, ...]
    ) -> None:
        if end in _HERE:
            attempt = Attempt(parcel, end, reply)
        else:
            attempt = Attempt(
                parcel, end, reply, self._hop, self._tls, edits, self._has_dsn
            )
        self._on_attempt(attempt)

    def _seal(self) -> None:
        self._is_sealed = True
        self.remaining = 0

    def _say(self, command: Command) -> None:
        if not self._is_closed:
            self._process.say(command)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Opening(NamedTuple):
    """A session that was asked for; ``None`` answers when the process has died."""

    hop: str
    on_attempt: OnAttempt
    answer: "asyncio.Future[RemoteSession | NotOpened | None]"


class SessionProcess(asyncio.Protocol):
    """One process; a protocol for the socket to it.

    Attributes:
        lost: done when the process is gone.
        unanswered: how often it was asked whether it is alive, since it last said so.
    """

    def __init__(self, keys: Keys) -> None:
        """``keys`` sign what is offered."""
        self._given = Given(keys)
        self._frames = Frames(TOLD_OCTETS_MAX)
        self._opening: dict[int, _Opening] = {}
        self._sessions: dict[int, RemoteSession] = {}
        self._outbox: list[bytes] = []
        self._count = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.unanswered = 0
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def load(self) -> int:
        """Sessions that it leads or opens."""
        return len(self._opening) + len(self._sessions)

    async def open(
        self, call: Call, on_attempt: OnAttempt
    ) -> RemoteSession | Reply | TlsFailed | None:
        """Return a session, or why there is none; ``None``: the process has died."""
        if self.lost.done():
            return None
        self._count += 1
        number = self._count
        opening = _Opening(call.hop, on_attempt, self._loop.create_future())
        self._opening[number] = opening
        self.say(Open(number, call))
        try:
            opened = await opening.answer
        except asyncio.CancelledError:
            self._sessions.pop(number, None)
            self.say(Abort(number, "the connection was given up"))
            raise
        finally:
            self._opening.pop(number, None)
        if isinstance(opened, NotOpened):
            return TlsFailed(opened.reply) if opened.is_tls else opened.reply
        return opened

    def offer(self, session: int, parcels: Sequence[Parcel]) -> None:
        """Hand over ``parcels``."""
        self.say(self._given.offer(session, parcels))

    def say(self, command: Command) -> None:
        """Send ``command`` at the end of this turn of the loop."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox += pack_command(command)

    def ping(self) -> None:
        """Ask whether it is alive."""
        self.unanswered += 1
        self.say(Ping())

    def close(self) -> None:
        """End the process: it goes when its socket is closed."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if self._transport is None or self._transport.is_closing():
            return
        # Joining is the cheaper by far, but for large messages: it has them twice.
        small: list[bytes] = []
        for piece in outbox:
            if len(piece) <= LARGE_OCTETS:
                small.append(piece)
                continue
            self._transport.write(b"".join(small))
            self._transport.write(piece)
            small = []
        self._transport.write(b"".join(small))

    def _heard(self, event: Event) -> None:
        match event:
            case Ends(number):
                if (session := self._sessions.get(number)) is not None:
                    session.ended(event)
            case Closed(number, seen, reply):
                if (session := self._sessions.pop(number, None)) is not None:
                    session.closed(seen, reply)
            case Pong():
                self.unanswered = 0
            case Opened(number) | NotOpened(number):
                if (opening := self._opening.pop(number, None)) is not None:
                    self._answer(opening, event)

    def _answer(self, opening: "_Opening", event: Opened | NotOpened) -> None:
        if opening.answer.done():  # whoever asked has gone
            return
        if isinstance(event, NotOpened):
            opening.answer.set_result(event)
            return
        # It may end before whoever asked for it runs.
        session = RemoteSession(self, opening.hop, event, opening.on_attempt)
        self._sessions[event.session] = session
        opening.answer.set_result(session)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            for event in parse_events(frame):
                self._heard(event)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        opening, self._opening = self._opening, {}
        for each in opening.values():
            if not each.answer.done():
                each.answer.set_result(None)
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.died()
