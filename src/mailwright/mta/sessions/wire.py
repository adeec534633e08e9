"""What goes between the node and a process that leads sessions, and back.

The node sends commands, the process tells events; most are about one session, by its
number. Octets (headers, bodies, keys) and secrets go one way only, from the node.

Pure: values in, octets out, and back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from mailwright.attempt import End
from mailwright.mta.sessions.frames import Frame, Take, pack_frame
from mailwright.mta.sessions.session import Call
from mailwright.mta.smtp.client import Terms, Timeouts
from mailwright.mta.smtp.greeting import Login
from mailwright.reply import Origin, Phase, Reply
from mailwright.site import Pipelining, TlsDemand


class KeyOctets(NamedTuple):
    """A signing key on its way: what it is called there, and its parts."""

    number: int
    algorithm: str
    domain: str
    selector: str
    der: bytes


class Order(NamedTuple):
    """A message to prepare and to send.

    Attributes:
        message: equal for parcels that share one content.
        body: empty when the process has ``content`` already.
        recipient, reverse_path: canonical addresses.
        at: value of DKIM ``t=``, microseconds since 1970.
        keys: numbers of the keys that sign it, the aligned one first.
        note: what to report about the keys.
        refusal: why nothing signs it; ``""`` when something does.
        dsn: NOTIFY, ORCPT, RET, ENVID (RFC 3461), or nothing.
        content: names the body, if the process is to keep it for other orders; else 0.
        merge: what a template is rendered with, or ``None``.
    """

    delivery: int
    message: int
    header: bytes
    body: bytes
    recipient: str
    reverse_path: str
    at: int
    keys: tuple[int, ...]
    note: str = ""
    refusal: str = ""
    dsn: tuple[str, ...] = ()
    content: int = 0
    merge: tuple[str, str, str] | None = None
    fields: bytes = b""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session under this number."""

    session: int
    call: Call


@dataclass(frozen=True, slots=True)
class Offer:
    """Send messages.

    Attributes:
        keys: that the process has not been given yet.
        forget: whether it drops all keys and contents of before first.
    """

    session: int
    orders: Sequence[Order]
    keys: Sequence[KeyOctets] = ()
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Quit:
    """Let what is in hand finish, then QUIT."""

    session: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Give back what is not on the wire, then QUIT."""

    session: int
    text: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Drop the connection, opened or not."""

    session: int
    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Say that you are alive."""


Command: TypeAlias = Open | Offer | Quit | Recall | Abort | Ping


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is ready for mail."""

    session: int
    tls: str
    has_dsn: bool
    remaining: int


@dataclass(frozen=True, slots=True)
class NotOpened:
    """There is no session, and why.

    Attributes:
        is_tls: STARTTLS or the handshake went wrong; nothing else is known to.
    """

    session: int
    reply: Reply
    is_tls: bool


class Ending(NamedTuple):
    """How the attempt of one delivery ended."""

    delivery: int
    end: End
    reply: Reply
    edits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """Attempts ended.

    Attributes:
        remaining: how many more it would have taken when ``seen`` had been offered.
    """

    session: int
    remaining: int
    seen: int
    endings: Sequence[Ending]


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over, and its socket closed.

    Attributes:
        seen: how many had been offered; what was offered after these went nowhere.
        reply: why, when that was not our wish.
    """

    session: int
    seen: int
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The process is alive."""


Event: TypeAlias = Opened | NotOpened | Ends | Closed | Pong


def pack_command(command: Command) -> list[bytes]:
    """Return the frame of ``command``, in pieces: bodies are not copied."""
    match command:
        case Open(session, call):
            return pack_frame(["open", session, *_call_parts(call)])
        case Offer():
            return _pack_offer(command)
        case Quit(session):
            return pack_frame(["quit", session])
        case Recall(session, text):
            return pack_frame(["recall", session, text])
        case Abort(session, text):
            return pack_frame(["abort", session, text])
        case Ping():
            return pack_frame(["ping", 0])


def parse_command(frame: Frame) -> Command:
    """Return the command in ``frame``.

    Raises:
        ValueError: it is none.
    """
    kind, session, *rest = frame.head
    match kind:
        case "offer":
            return _parse_offer(session, rest, frame.taker())
        case "open":
            return Open(session, _parse_call(*rest))
        case "quit":
            return Quit(session)
        case "recall":
            return Recall(session, *rest)
        case "abort":
            return Abort(session, *rest)
        case "ping":
            return Ping()
    raise ValueError(f"no command: {kind!r}")


def pack_events(events: Sequence[Event]) -> bytes:
    """Return the frame of ``events``."""
    return b"".join(pack_frame([_event_parts(event) for event in events]))


def parse_events(frame: Frame) -> list[Event]:
    """Return the events in ``frame``.

    Raises:
        ValueError: it holds something else.
    """
    return [_EVENTS[kind](*parts) for kind, *parts in frame.head]


def _call_parts(call: Call) -> list[Any]:
    terms, login = call.terms, call.terms.login
    return [
        [call.host, call.address, call.port, call.source],
        [call.connect_s, call.tls_s, call.tick_s],
        [terms.ehlo_name, terms.tls, terms.pipelining, terms.messages],
        None if login is None else [login.user, login.password],
        [getattr(terms.timeouts, name) for name in _TIMEOUTS],
    ]


_TIMEOUTS: Final = tuple(Timeouts.__dataclass_fields__)


def _parse_call(
    place: list[Any],
    times: list[float],
    terms: list[Any],
    login: list[str] | None,
    timeouts: list[float],
) -> Call:
    host, address, port, source = place
    connect_s, tls_s, tick_s = times
    ehlo_name, tls, pipelining, messages = terms
    agreed = Terms(
        ehlo_name,
        TlsDemand(tls),
        Pipelining(pipelining),
        messages,
        None if login is None else Login(*login),
        Timeouts(*timeouts),
    )
    return Call(host, address, port, source, agreed, connect_s, tls_s, tick_s)


def _pack_offer(offer: Offer) -> list[bytes]:
    octets: list[bytes] = []
    keys = []
    for key in offer.keys:
        octets.append(key.der)
        keys.append([*key[:4], len(key.der)])
    orders = []
    for order in offer.orders:
        octets += (order.header, order.body, order.fields)
        orders.append(
            [
                *(order.delivery, order.message),
                *(len(order.header), len(order.body), len(order.fields)),
                *order[4:13],
            ]
        )
    return pack_frame(["offer", offer.session, offer.forget, keys, orders], octets)


def _parse_offer(session: int, rest: list[Any], take: Take) -> Offer:
    forget, keys, orders = rest
    return Offer(
        session,
        keys=[
            KeyOctets(number, algorithm, domain, selector, take(length))
            for number, algorithm, domain, selector, length in keys
        ],
        orders=[_parse_order(order, take) for order in orders],
        forget=forget,
    )


def _parse_order(order: list[Any], take: Take) -> Order:
    delivery, message, header, body, fields, recipient, reverse_path, at, *rest = order
    keys, note, refusal, dsn, content, merge = rest
    return Order(
        delivery,
        message,
        take(header),
        take(body),
        recipient,
        reverse_path,
        at,
        tuple(keys),
        note,
        refusal,
        tuple(dsn),
        content,
        None if merge is None else tuple(merge),
        take(fields),
    )


def _event_parts(event: Event) -> list[Any]:
    match event:
        case Ends(session, remaining, seen, endings):
            told = [
                [each.delivery, each.end.value, each.edits, *_reply_parts(each.reply)]
                for each in endings
            ]
            return ["ends", session, remaining, seen, told]
        case Opened(session, tls, has_dsn, remaining):
            return ["opened", session, tls, has_dsn, remaining]
        case NotOpened(session, reply, is_tls):
            return ["not opened", session, is_tls, *_reply_parts(reply)]
        case Closed(session, seen, reply):
            said = () if reply is None else _reply_parts(reply)
            return ["closed", session, seen, *said]
        case Pong():
            return ["pong"]


def _parse_ends(session: int, remaining: int, seen: int, told: list[Any]) -> Ends:
    return Ends(
        session,
        remaining,
        seen,
        [
            Ending(delivery, End(end), _parse_reply(*reply), tuple(edits))
            for delivery, end, edits, *reply in told
        ],
    )


def _parse_closed(session: int, seen: int, *reply: Any) -> Closed:
    return Closed(session, seen, _parse_reply(*reply) if reply else None)


def _parse_not_opened(session: int, is_tls: bool, *reply: Any) -> NotOpened:
    return NotOpened(session, _parse_reply(*reply), is_tls)


_EVENTS: Final[dict[str, Callable[..., Event]]] = {
    "opened": Opened,
    "not opened": _parse_not_opened,
    "ends": _parse_ends,
    "closed": _parse_closed,
    "pong": Pong,
}


def _reply_parts(reply: Reply) -> tuple[int, str, str, str, str]:
    return reply.code, reply.enhanced, reply.text, reply.phase, reply.origin


def _parse_reply(code: int, enhanced: str, text: str, phase: str, origin: str) -> Reply:
    return Reply(code, enhanced, text, Phase(phase), Origin(origin))
