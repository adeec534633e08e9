"""The process that prepares: reads batches from one socket, answers, ends with the socket.

It is started by :mod:`mailwright.mta.workers.pool` and by nobody else. Keys and contents
are kept until the node says to forget them.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from threading import Lock
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

logger = logging.getLogger(__name__)

_READ_OCTETS: Final = 1 << 18


class _BatchKeys:
    """What signs the orders of one batch.

    Stands in for the node's key ring, which is not here: an order says itself what
    signs it. Its parcel names the order in place of a sending domain.
    """

    def __init__(self, found: Sequence[SigningKeys | str]) -> None:
        self._found = found

    def keys_for(
        self, sending_domain: SendingDomainId, _selector: str, _accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs the order of that number, or why nothing does."""
        return self._found[sending_domain]


class Task:
    """A batch with all that it needs. Any one thread may do it."""

    def __init__(
        self,
        batch: Batch,
        parcels: Sequence[Parcel],
        keys: _BatchKeys,
        renderers: Renderers,
    ) -> None:
        self._batch = batch
        self._parcels = parcels
        self._preparer = Preparer(keys, renderers)

    @property
    def renders(self) -> bool:
        """Whether a template decides how long it takes."""
        return any(parcel.merge is not None for parcel in self._parcels)

    def answer(self) -> bytes:
        """Return the frame with the outcomes."""
        outcomes = make_ready(
            self._preparer, self._parcels, has_8bitmime=self._batch.has_8bitmime
        )
        return pack_outcomes(self._batch.number, outcomes)


class Workplace:
    """Makes tasks of batches: keeps the keys and contents that came with them."""

    def __init__(self, renderers: Renderers) -> None:
        self._renderers = renderers
        self._keys: dict[int, DkimSecret] = {}
        self._contents: dict[int, bytes] = {}

    def task(self, batch: Batch) -> Task:
        """Return the task that ``batch`` is; take batches in their order."""
        if batch.forget:
            self._keys.clear()
            self._contents.clear()
        for key in batch.keys:
            private_key = read_der(key.der)
            secret = DkimSecret(key.algorithm, key.domain, key.selector, private_key)
            self._keys[key.number] = secret
        keys = _BatchKeys([self._signing_keys(order) for order in batch.orders])
        parcels = [
            self._parcel(place, order) for place, order in enumerate(batch.orders)
        ]
        return Task(batch, parcels, keys, self._renderers)

    def _signing_keys(self, order: Order) -> SigningKeys | str:
        if order.refusal:
            return order.refusal
        return SigningKeys(tuple(self._keys[each] for each in order.keys), order.note)

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


class _Answers:
    """Sends what tasks come to, each whole, from whichever thread."""

    def __init__(self, node: socket.socket) -> None:
        self._node = node
        self._lock = Lock()

    def send(self, task: Task) -> None:
        """Do ``task`` and send its answer."""
        answer = task.answer()
        with self._lock:
            self._node.sendall(answer)

    def send_beside(self, task: Task) -> None:
        """Do the same in a thread, where an error ends the process as it would here."""
        try:
            self.send(task)
        except ConnectionError:
            pass  # the node is gone; nobody waits
        except BaseException:
            logger.exception("a task failed")
            os._exit(1)


def main(descriptor: int) -> None:
    """Answer what comes over the socket ``descriptor`` until its other end is closed.

    What is rendered is done in a thread: a template that takes long, as far as it may,
    keeps other campaigns waiting and no other mail. Templates run one process further on,
    where no key is.
    """
    # The node is told to stop, and it lets what is in flight finish: that needs us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    frames, renderers = Frames(), Renderers(1)
    workplace = Workplace(renderers)
    with (
        closing(renderers),
        socket.socket(fileno=descriptor) as node,
        ThreadPoolExecutor(1, thread_name_prefix="campaigns") as beside,
    ):
        answers = _Answers(node)
        while octets := node.recv(_READ_OCTETS):
            for frame in frames.feed(octets):
                task = workplace.task(parse_batch(frame))
                if task.renders:
                    beside.submit(answers.send_beside, task)
                else:
                    answers.send(task)
        beside.shutdown(wait=True, cancel_futures=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except ConnectionError:
        sys.exit(0)  # the node is gone; nobody waits
