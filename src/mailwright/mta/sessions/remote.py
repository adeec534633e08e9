"""A process that leads sessions, as the node's loop sees it.

Nothing is waited for but what only the process can know: offers, QUIT and recalls go out
at once, what is said in one turn of the loop in one write, and ends come back as they
happen. What a session would still take is known up to what is under way to it.

When the process dies, what it had in hand may have arrived or not, and nobody is left to
say: these attempts end as ``ORPHANED``.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol, cast

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from typing_extensions import override

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import LARGE_OCTETS, Attempt, End, Parcel
from mailwright.clock import to_micros
from mailwright.ids import SendingDomainId
from mailwright.mta.sessions.frames import Frames
from mailwright.mta.sessions.session import Call, OnAttempt, TlsFailed
from mailwright.mta.sessions.wire import (
    Abort,
    Closed,
    Command,
    Ends,
    Event,
    KeyOctets,
    NotOpened,
    Offer,
    Open,
    Opened,
    Order,
    Quit,
    Recall,
    pack_command,
    parse_events,
)
from mailwright.reply import Phase, Reply, local_reply

#: Keys that a process is to remember before it starts anew.
KEYS_MAX: Final = 2_000
#: Likewise octets of campaigns' contents.
CONTENT_OCTETS_MAX: Final = 64_000_000
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


class Keys(Protocol):
    """The key ring, as far as signing goes."""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs, the aligned key first, or why the mail must wait."""
        ...


def _never() -> bool:
    return False


class _Known:
    """What a process has been given; numbers its keys."""

    def __init__(self) -> None:
        # By identity: a replaced key has the same names. The key itself is held, or
        # another could come to have its identity.
        self._keys: dict[int, tuple[int, DkimSecret]] = {}
        self._contents: set[int] = set()
        self._octets = 0

    @property
    def is_full(self) -> bool:
        return len(self._keys) > KEYS_MAX or self._octets > CONTENT_OCTETS_MAX

    def forget(self) -> None:
        self._keys.clear()
        self._contents.clear()
        self._octets = 0

    def number(self, key: DkimSecret, new: list[KeyOctets]) -> int:
        """Return the number of ``key``; one that is not known is added to ``new``."""
        known = self._keys.get(id(key))
        if known is not None:
            return known[0]
        number = len(self._keys)
        self._keys[id(key)] = number, key
        der = key.private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        new.append(KeyOctets(number, key.algorithm, key.domain, key.selector, der))
        return number

    def body(self, content: int, body: bytes) -> bytes:
        """Return ``body`` if the process does not have it yet."""
        if content in self._contents:
            return b""
        self._contents.add(content)
        self._octets += len(body)
        return body


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
    """

    def __init__(self, keys: Keys) -> None:
        """``keys`` sign what is offered."""
        self._keys = keys
        self._known = _Known()
        self._frames = Frames(TOLD_OCTETS_MAX)
        self._opening: dict[int, _Opening] = {}
        self._sessions: dict[int, RemoteSession] = {}
        self._outbox: list[bytes] = []
        self._count = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
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
        forget = self._known.is_full
        if forget:
            self._known.forget()
        new: list[KeyOctets] = []
        orders = [self._order(parcel, new) for parcel in parcels]
        self.say(Offer(session, orders, new, forget))

    def say(self, command: Command) -> None:
        """Send ``command`` at the end of this turn of the loop."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox += pack_command(command)

    def close(self) -> None:
        """End the process: it goes when its socket is closed."""
        if self._transport is not None:
            self._transport.close()

    def _order(self, parcel: Parcel, new: list[KeyOctets]) -> Order:
        found = self._keys.keys_for(
            parcel.sending_domain, parcel.selector, parcel.accepted_at
        )
        numbers: tuple[int, ...] = ()
        note = refusal = ""
        if isinstance(found, str):
            refusal = found
        else:
            note = found.note
            numbers = tuple(self._known.number(key, new) for key in found.keys)
        merge, content, fields, body = None, 0, b"", parcel.body
        if parcel.merge is not None:
            given = parcel.merge
            content, fields = given.content, given.fields
            merge = given.variant, given.recipient, given.message_id
            body = self._known.body(content, body)
        dsn = parcel.notify, parcel.orcpt, parcel.ret, parcel.envid
        return Order(
            parcel.delivery,
            parcel.message,
            parcel.header,
            body,
            parcel.recipient,
            parcel.reverse_path,
            to_micros(parcel.accepted_at),
            numbers,
            note,
            refusal,
            dsn if any(dsn) else (),
            content,
            merge,
            fields,
        )

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
