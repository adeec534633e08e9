"""What goes between the node and a process that prepares: frames of JSON and octets.

A frame is a length (4 octets, big endian) of the JSON, a length of the octets behind it,
the JSON, the octets. Octets (headers, bodies, keys) never pass through JSON: the JSON says
how many of them belong to what, in order.

Pure: values in, octets out, and back.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, NamedTuple

from mailwright.attempt import End
from mailwright.mta.workers.ready import Outcome, Ready, Refused
from mailwright.reply import Origin, Phase, Reply

_LENGTHS: Final = Struct(">II")


class KeyOctets(NamedTuple):
    """A signing key on its way: what it is called there, and its parts."""

    number: int
    algorithm: str
    domain: str
    selector: str
    der: bytes


class Order(NamedTuple):
    """A message to prepare.

    Attributes:
        message: equal for parcels that share one content.
        content: names the body, if the process is to keep it for other orders; else 0.
        body: empty when the process has ``content`` already.
        at: value of DKIM ``t=``, microseconds since 1970.
        keys: numbers of the keys that sign it, the aligned one first.
        note: what to report about the keys.
        refusal: why nothing signs it; ``""`` when something does.
        merge: what a template is rendered with, or ``None``.
    """

    delivery: int
    message: int
    header: bytes
    body: bytes
    at: int
    keys: tuple[int, ...]
    note: str = ""
    refusal: str = ""
    content: int = 0
    merge: tuple[str, str, str] | None = None
    fields: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """Orders for one receiver.

    Attributes:
        number: comes back with the outcomes.
        keys: that the process has not been given yet.
        forget: whether it drops all keys and contents of before first.
    """

    number: int
    has_8bitmime: bool
    orders: Sequence[Order]
    keys: Sequence[KeyOctets] = ()
    forget: bool = False


def pack_batch(batch: Batch) -> bytes:
    """Return the frame of ``batch``."""
    octets: list[bytes] = []
    keys = []
    for key in batch.keys:
        octets.append(key.der)
        keys.append([*key[:4], len(key.der)])
    orders = []
    for order in batch.orders:
        octets += (order.header, order.body, order.fields)
        orders.append(
            [
                *(order.delivery, order.message),
                *(len(order.header), len(order.body), len(order.fields)),
                *(order.at, order.keys, order.note, order.refusal),
                *(order.content, order.merge),
            ]
        )
    head = [batch.number, batch.has_8bitmime, batch.forget, keys, orders]
    return _frame(head, octets)


def parse_batch(frame: "Frame") -> Batch:
    """Return the batch in ``frame``."""
    batch, has_8bitmime, forget, keys, orders = frame.head
    take = frame.taker()
    return Batch(
        batch,
        has_8bitmime,
        keys=[
            KeyOctets(number, algorithm, domain, selector, take(length))
            for number, algorithm, domain, selector, length in keys
        ],
        orders=[_order(order, take) for order in orders],
        forget=forget,
    )


def _order(order: list[Any], take: "_Take") -> Order:
    delivery, message, header, body, fields, at, keys, note, refusal, *rest = order
    content, merge = rest
    return Order(
        delivery,
        message,
        take(header),
        take(body),
        at,
        tuple(keys),
        note,
        refusal,
        content,
        None if merge is None else tuple(merge),
        take(fields),
    )


def pack_outcomes(number: int, outcomes: Sequence[Outcome]) -> bytes:
    """Return the frame that answers the batch ``number``."""
    octets, told = [], []
    for outcome in outcomes:
        if isinstance(outcome, Ready):
            octets.append(outcome.wire)
            told.append(
                [len(outcome.wire), outcome.size, outcome.has_8bit, outcome.edits]
            )
        else:
            reply = outcome.reply
            told.append([outcome.end.value, *_reply_parts(reply)])
    return _frame([number, told], octets)


def parse_outcomes(frame: "Frame") -> tuple[int, list[Outcome]]:
    """Return the number of the batch and its outcomes."""
    number, told = frame.head
    take = frame.taker()
    return number, [_parse_outcome(each, take) for each in told]


def _parse_outcome(told: list[Any], take: "_Take") -> Outcome:
    if isinstance(told[0], int):
        length, size, has_8bit, edits = told
        return Ready(take(length), size, has_8bit, tuple(edits))
    end, code, enhanced, text, phase, origin = told
    reply = Reply(code, enhanced, text, Phase(phase), Origin(origin))
    return Refused(End(end), reply)


def _reply_parts(reply: Reply) -> list[Any]:
    return [
        reply.code,
        reply.enhanced,
        reply.text,
        reply.phase.value,
        reply.origin.value,
    ]


def _frame(head: object, octets: Sequence[bytes]) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    lengths = _LENGTHS.pack(len(text), sum(map(len, octets)))
    return b"".join((lengths, text, *octets))


class _Take:
    """Cuts octets off, in order."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __call__(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        return self._octets[start : self._at]


class Frame(NamedTuple):
    """A frame that has arrived whole."""

    head: Any
    octets: bytes

    def taker(self) -> _Take:
        """Return what cuts its octets off."""
        return _Take(self.octets)


class Frames:
    """Puts frames together from what a stream brings."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, octets: bytes) -> Iterator[Frame]:
        """Yield the frames that ``octets`` completes.

        Raises:
            ValueError: what arrives is no frame.
        """
        waiting = self._waiting
        waiting += octets
        while len(waiting) >= _LENGTHS.size:
            head, rest = _LENGTHS.unpack_from(waiting)
            begins = _LENGTHS.size + head
            ends = begins + rest
            if len(waiting) < ends:
                return
            parsed = json.loads(waiting[_LENGTHS.size : begins])
            content = bytes(memoryview(waiting)[begins:ends])
            del waiting[:ends]
            yield Frame(parsed, content)
