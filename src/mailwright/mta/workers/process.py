"""The process that prepares: reads batches from one socket, answers, ends with the socket.

It is started by :mod:`mailwright.mta.workers.pool` and by nobody else. Keys and contents
are kept until the node says to forget them.
"""

import signal
import socket
import sys
from contextlib import closing
from datetime import datetime
from typing import Final

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys, read_der
from mailwright.attempt import Parcel
from mailwright.clock import from_micros
from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.merge import Merge
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.workers.ready import make_ready
from mailwright.mta.workers.wire import (
    Batch,
    Frames,
    Order,
    pack_outcomes,
    parse_batch,
)

_READ_OCTETS: Final = 1 << 18


class HandedKeys:
    """The keys that came with the orders.

    Stands in for the node's key ring, which is not here: an order says itself what
    signs it. Its parcel names the order in place of a sending domain.
    """

    def __init__(self) -> None:
        self._keys: dict[int, DkimSecret] = {}
        self._orders: list[Order] = []

    def hand(self, batch: Batch) -> None:
        """Take over the keys of ``batch``, and answer for its orders from now on."""
        if batch.forget:
            self._keys.clear()
        for key in batch.keys:
            private_key = read_der(key.der)
            secret = DkimSecret(key.algorithm, key.domain, key.selector, private_key)
            self._keys[key.number] = secret
        self._orders = list(batch.orders)

    def keys_for(
        self, sending_domain: SendingDomainId, _selector: str, _accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs the order of that number, or why nothing does."""
        order = self._orders[sending_domain]
        if order.refusal:
            return order.refusal
        return SigningKeys(tuple(self._keys[each] for each in order.keys), order.note)


class Workplace:
    """Answers batches. Pure but for what it keeps."""

    def __init__(self, renderers: Renderers) -> None:
        self._keys = HandedKeys()
        self._preparer = Preparer(self._keys, renderers)
        self._contents: dict[int, bytes] = {}

    def answer(self, batch: Batch) -> bytes:
        """Return the frame with the outcomes of ``batch``."""
        if batch.forget:
            self._contents.clear()
        self._keys.hand(batch)
        parcels = [
            self._parcel(place, order) for place, order in enumerate(batch.orders)
        ]
        outcomes = make_ready(self._preparer, parcels, has_8bitmime=batch.has_8bitmime)
        return pack_outcomes(batch.number, outcomes)

    def _parcel(self, place: int, order: Order) -> Parcel:
        body, merge = order.body, None
        if order.content:
            body = self._contents.setdefault(order.content, order.body)
        if order.merge is not None:
            variant, recipient, message_id = order.merge
            merge = Merge(order.content, order.fields, variant, recipient, message_id)
        return Parcel(
            DeliveryId(order.delivery),
            1,
            MessageId(order.message),
            order.header,
            body,
            "",
            "",
            from_micros(order.at),
            SendingDomainId(place),
            "",
            merge=merge,
        )


def main(descriptor: int) -> None:
    """Answer what comes over the socket ``descriptor`` until its other end is closed."""
    # The node is told to stop, and it lets what is in flight finish: that needs us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    frames, renderers = Frames(), Renderers(1)
    workplace = Workplace(renderers)
    # Templates run one process further on, where no key is.
    with closing(renderers), socket.socket(fileno=descriptor) as node:
        while octets := node.recv(_READ_OCTETS):
            for frame in frames.feed(octets):
                node.sendall(workplace.answer(parse_batch(frame)))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except ConnectionError:
        sys.exit(0)  # the node is gone; nobody waits
