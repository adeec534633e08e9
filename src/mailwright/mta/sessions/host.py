"""The far end of the node's socket: leads sessions, and tells the node of them.

One task for each session, none for a message. What is told in one turn of the loop goes
in one write.
"""

import asyncio
import logging
from functools import partial
from typing import Final, cast

from typing_extensions import override

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys, read_der
from mailwright.attempt import Attempt, Parcel
from mailwright.clock import from_micros
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.merge import Merge
from mailwright.mta.sessions.frames import Frames
from mailwright.mta.sessions.local import LocalSession, LocalSessions
from mailwright.mta.sessions.session import TlsFailed
from mailwright.mta.sessions.wire import (
    Abort,
    Closed,
    Command,
    Ending,
    Ends,
    Event,
    NotOpened,
    Offer,
    Open,
    Opened,
    Order,
    Ping,
    Pong,
    Recall,
    pack_events,
    parse_command,
)
from mailwright.reply import Phase, Reply, local_reply

logger = logging.getLogger(__name__)

_FAULT: Final = local_reply(451, "4.3.0", "session ended by a fault", Phase.CONNECT)


class OrderKeys:
    """What signs the orders that are in hand.

    Stands in for the node's key ring, which is not here: an order says itself what signs
    it. Its parcel names the order in place of a sending domain.
    """

    def __init__(self) -> None:
        self._found: dict[int, SigningKeys | str] = {}
        self._count = 0

    def add(self, found: SigningKeys | str) -> SendingDomainId:
        """Return what to name in place of a sending domain."""
        self._count += 1
        self._found[self._count] = found
        return SendingDomainId(self._count)

    def forget(self, parcel: Parcel) -> None:
        """Drop what signs ``parcel``: it has ended."""
        self._found.pop(parcel.sending_domain, None)

    def keys_for(
        self, sending_domain: SendingDomainId, _selector: str, _accepted_at: object
    ) -> SigningKeys | str:
        """Return what signs the order of that number, or why nothing does."""
        return self._found[sending_domain]


class _Belongings:
    """Makes parcels of orders: keeps the keys and contents that came with them."""

    def __init__(self, order_keys: OrderKeys) -> None:
        self._order_keys = order_keys
        self._keys: dict[int, DkimSecret] = {}
        self._contents: dict[int, bytes] = {}

    def parcels(self, offer: Offer) -> list[Parcel]:
        """Return the parcels of ``offer``; take offers in their order."""
        if offer.forget:
            self._keys.clear()
            self._contents.clear()
        for key in offer.keys:
            private_key = read_der(key.der)
            secret = DkimSecret(key.algorithm, key.domain, key.selector, private_key)
            self._keys[key.number] = secret
        return [self._parcel(order) for order in offer.orders]

    def _parcel(self, order: Order) -> Parcel:
        found: SigningKeys | str = order.refusal
        if not found:
            found = SigningKeys(
                tuple(self._keys[each] for each in order.keys), order.note
            )
        body, merge = order.body, None
        if order.content:
            body = self._contents.setdefault(order.content, body)
        if order.merge is not None:
            variant, recipient, message_id = order.merge
            merge = Merge(order.content, order.fields, variant, recipient, message_id)
        notify, orcpt, ret, envid = order.dsn or ("",) * 4
        return Parcel(
            DeliveryId(order.delivery),
            1,
            MessageId(order.message),
            order.header,
            body,
            order.recipient,
            order.reverse_path,
            from_micros(order.at),
            self._order_keys.add(found),
            "",
            notify,
            orcpt,
            ret,
            envid,
            merge,
        )


class _Led:
    """A session that the node knows by a number."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self.session: LocalSession | None = None
        self.seen = 0
        self.endings: list[Ending] = []


class Host(asyncio.Protocol):
    """Does what the node says over one socket, until the node closes it.

    Attributes:
        lost: done when the node is gone.
    """

    def __init__(
        self, sessions: LocalSessions, order_keys: OrderKeys, tasks: asyncio.TaskGroup
    ) -> None:
        """``sessions`` prepare with ``order_keys``; ``tasks`` own those of sessions."""
        self._sessions = sessions
        self._order_keys = order_keys
        self._tasks = tasks
        self._belongings = _Belongings(order_keys)
        self._frames = Frames()
        self._led: dict[int, _Led] = {}
        self._ended: dict[int, _Led] = {}  # those with endings to tell
        self._events: list[Event] = []
        self._is_telling = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_leading(self) -> bool:
        """Whether a session is open, or being opened."""
        return bool(self._led)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._obey(parse_command(frame))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def _obey(self, command: Command) -> None:
        if isinstance(command, Ping):
            self._tell(Pong())
            return
        if isinstance(command, Open):
            task = self._tasks.create_task(self._lead(command))
            self._led[command.session] = _Led(task)
            return
        led = self._led.get(command.session)
        session = led.session if led is not None else None
        if isinstance(command, Offer):
            # Keys and contents come once, whatever became of the session meanwhile.
            parcels = self._belongings.parcels(command)
            if led is None or session is None:
                for parcel in parcels:  # the node learns that these were not seen
                    self._order_keys.forget(parcel)
                return
            led.seen += len(parcels)
            session.offer(parcels)
        elif led is None:
            pass  # it has ended
        elif session is None:
            led.task.cancel()  # it is being opened: there is nothing else to say yet
        elif isinstance(command, Abort):
            session.connection.abort(command.text)
        elif isinstance(command, Recall):
            session.recall(command.text)
        else:
            session.quit()

    async def _lead(self, command: Open) -> None:
        """Lead one session from its opening until its socket is closed."""
        number = command.session
        led, reply = self._led[number], None
        try:
            opened = await self._sessions.open(
                command.call, partial(self._on_attempt, number, led)
            )
            if isinstance(opened, TlsFailed):
                self._tell(NotOpened(number, opened.reply, is_tls=True))
            elif isinstance(opened, Reply):
                self._tell(NotOpened(number, opened, is_tls=False))
            else:
                led.session = opened
                self._tell(Opened(number, opened.tls, opened.has_dsn, opened.remaining))
                await opened.wait_until(_never)
                await opened.end()
                await opened.give_up("the session is over")
                reply = opened.reply
        except Exception:  # the outermost frame of a session
            logger.exception("a session failed")
            reply = _FAULT
            if led.session is None:
                self._tell(NotOpened(number, reply, is_tls=False))
            else:
                led.session.connection.abort("session ended by a fault")
        finally:
            del self._led[number]
        if led.session is not None:
            self._tell_ends()
            self._tell(Closed(number, led.seen, reply))
            led.session = None  # it holds what tells of its ends, and that holds this

    def _on_attempt(self, number: int, led: _Led, attempt: Attempt) -> None:
        self._order_keys.forget(attempt.parcel)
        led.endings.append(
            Ending(attempt.parcel.delivery, attempt.end, attempt.reply, attempt.edits)
        )
        self._ended[number] = led
        self._tell_soon()

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._is_telling:
            self._is_telling = True
            self._loop.call_soon(self._flush)

    def _tell_ends(self) -> None:
        """Line up what ended since: it is told before what follows."""
        for number, led in self._ended.items():
            remaining = led.session.remaining if led.session is not None else 0
            self._events.append(Ends(number, remaining, led.seen, led.endings))
            led.endings = []
        self._ended.clear()

    def _flush(self) -> None:
        self._is_telling = False
        self._tell_ends()
        events, self._events = self._events, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack_events(events))


def _never() -> bool:
    return False
