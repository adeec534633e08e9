"""★ What was promised, what the node says came of it, and what really arrived. Pure.

Three books that do not know each other: the *acknowledgements* that clients got (250,
201), the *events* of the node, and the *copies* that receivers took.
:mod:`~mailwright.sandbox.demo.balance` compares them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailwright.events.types import EventType

#: Events after which nothing more happens to a delivery.
ENDS: Final = (
    EventType.DELIVERED,
    EventType.BOUNCED,
    EventType.EXPIRED,
    EventType.SUPPRESSED,
    EventType.CANCELLED,
)


class Delivery(NamedTuple):
    """One message to one recipient: public id and canonical address."""

    message: str
    recipient: str


class Copy(NamedTuple):
    """What a receiver took: Message-ID and recipient."""

    message_id: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of the node, as far as the ledger needs it.

    Attributes:
        may_be_copied: the event is marked as a possible duplicate, or is one.
    """

    type: EventType
    delivery: Delivery
    may_be_copied: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of one recipient domain, while it goes on.

    Attributes:
        deferred: attempts that were put off.
        ended: deliveries by their end.
    """

    accepted: int = 0
    deferred: int = 0
    ended: Counter[EventType] = field(default_factory=Counter)

    @property
    def queued(self) -> int:
        """Deliveries that have not ended."""
        return max(self.accepted - self.ended.total(), 0)


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledgement was about."""

    message_id: str
    author_domain: str


class Ledger:
    """The three books.

    Attributes:
        promises: what clients were told is accepted.
        ends: the ends that the node reported of each delivery; one, if all is well.
        known: deliveries of which the node reported anything.
        open: promised, and not ended as far as events tell.
        may_be_copied: deliveries that the node marked as possible duplicates.
        signers: of every copy: the domain of its valid signature, or ``""``.
        tallies: counts by recipient domain.
    """

    def __init__(self) -> None:
        self.promises: dict[Delivery, Promise] = {}
        self.ends: dict[Delivery, list[EventType]] = {}
        self.known: set[Delivery] = set()
        self.open: set[Delivery] = set()
        self.may_be_copied: set[Delivery] = set()
        self.signers: dict[Copy, list[str]] = {}
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def acknowledged(
        self, message: str, recipients: Iterable[str], promise: Promise
    ) -> None:
        """Note that a client was told that ``message`` is accepted for all of them."""
        for recipient in recipients:
            delivery = Delivery(message, recipient)
            self.promises[delivery] = promise
            self._tally(delivery).accepted += 1
            if delivery not in self.ends:
                self.open.add(delivery)

    def happened(self, event: Happening) -> None:
        """Note an event of the node."""
        delivery = event.delivery
        self.known.add(delivery)
        if event.may_be_copied:
            self.may_be_copied.add(delivery)
        if event.type in ENDS:
            self.ends.setdefault(delivery, []).append(event.type)
            self.open.discard(delivery)
            self._tally(delivery).ended[event.type] += 1
        elif event.type is EventType.DEFERRED:
            self._tally(delivery).deferred += 1

    def arrived(self, copy: Copy, signer: str) -> None:
        """Note a copy; ``signer`` is the domain of its valid signature, or ``""``."""
        self.signers.setdefault(copy, []).append(signer)

    def _tally(self, delivery: Delivery) -> Tally:
        return self.tallies[delivery.recipient.rpartition("@")[2]]
