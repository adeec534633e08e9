"""★ Balances the books of a :class:`~mailwright.sandbox.demo.ledger.Ledger`. Pure.

It finds

* **lost**: acknowledged, but neither ended nor queued; or delivered, says the node, but
  no receiver has it;
* **duplicates**: copies beyond the one of a delivered message, unless the node itself
  marked the delivery as a possible duplicate;
* **unverified**: delivered, but a copy has no valid DKIM signature of its From domain;
* **contradictions**: two ends of one delivery; **orphans**: mail that the node or a
  receiver has and that no client was told of.
"""

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from mailwright.events.types import EventType
from mailwright.sandbox.demo.ledger import Copy, Delivery, Ledger, Promise

_MAX_FINDINGS: Final = 100


@dataclass(frozen=True, slots=True)
class Balance:
    """The result. ``accepted`` is the sum of the six after it, unless rows are lost.

    Attributes:
        dkim_verified: delivered, and every copy verified.
        unverified: delivered and arrived, but not so.
        explained_copies: second copies that the node had announced.
        findings: what does not fit, in words; the first hundred.
    """

    accepted: int
    delivered: int
    bounced: int
    expired: int
    suppressed: int
    cancelled: int
    queued: int
    lost: int
    duplicates: int
    dkim_verified: int
    unverified: int
    explained_copies: int
    findings: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything fits together; what is still queued is no fault."""
        return not self.findings


def balance(ledger: Ledger, queued: AbstractSet[Delivery]) -> Balance:
    """Compare the books, when the node has stopped and all copies are verified.

    ``queued`` are the deliveries that the node still holds.
    """
    balancing = _Balancing(ledger, queued)
    for delivery, promise in ledger.promises.items():
        balancing.weigh(delivery, promise)
    balancing.find_orphans()
    ends, counts = balancing.ends, balancing.counts
    return Balance(
        accepted=len(ledger.promises),
        delivered=ends[EventType.DELIVERED],
        bounced=ends[EventType.BOUNCED],
        expired=ends[EventType.EXPIRED],
        suppressed=ends[EventType.SUPPRESSED],
        cancelled=ends[EventType.CANCELLED],
        queued=counts["queued"],
        lost=counts["lost"],
        duplicates=counts["duplicate"],
        dkim_verified=counts["verified"],
        unverified=counts["unverified"],
        explained_copies=counts["explained"],
        findings=tuple(balancing.findings),
    )


class _Balancing:
    """One pass over the books."""

    def __init__(self, ledger: Ledger, queued: AbstractSet[Delivery]) -> None:
        self._ledger = ledger
        self._queued = queued
        self.ends: Counter[EventType] = Counter()
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def weigh(self, delivery: Delivery, promise: Promise) -> None:
        """Count what became of one promise."""
        end = self._end_of(delivery)
        copy = Copy(promise.message_id, delivery.recipient)
        signers = self._ledger.signers.get(copy, [])
        self._weigh_copies(delivery, end, len(signers))
        if end is EventType.DELIVERED and signers:
            self._weigh_signatures(delivery, promise.author_domain, signers)

    def find_orphans(self) -> None:
        """Find what the node or a receiver has and no client was told of."""
        promises = self._ledger.promises
        for delivery in sorted(self._ledger.known - promises.keys()):
            self._find("orphan", delivery, "is at the node, but nobody was told so")
        sent = {
            Copy(promise.message_id, delivery.recipient)
            for delivery, promise in promises.items()
        }
        for copy in sorted(self._ledger.signers.keys() - sent):
            self._find("orphan", copy, "arrived, but was never acknowledged")

    def _end_of(self, delivery: Delivery) -> EventType | None:
        """Return the end of ``delivery``; count it, or that it waits or is lost."""
        ends = self._ledger.ends.get(delivery, [])
        if len(ends) > 1:
            self._find("contradiction", delivery, f"ended twice: {' and '.join(ends)}")
        if ends:
            self.ends[ends[0]] += 1
            return ends[0]
        if delivery in self._queued:
            self.counts["queued"] += 1
        else:
            self._find("lost", delivery, "acknowledged, but the node has it no more")
        return None

    def _weigh_copies(
        self, delivery: Delivery, end: EventType | None, copies: int
    ) -> None:
        expected = int(end is EventType.DELIVERED)
        if copies < expected:
            self._find("lost", delivery, "delivered, says the node, but nobody has it")
        surplus = copies - expected
        if surplus <= 0:
            return
        if delivery in self._ledger.may_be_copied:
            self.counts["explained"] += surplus
            return
        text = f"{end or 'queued'}, says the node, but copies that arrived: {copies}"
        self._find("duplicate", delivery, text, surplus)

    def _weigh_signatures(
        self, delivery: Delivery, author_domain: str, signers: list[str]
    ) -> None:
        if all(signer == author_domain for signer in signers):
            self.counts["verified"] += 1
            return
        found = ", ".join(sorted({signer or "none" for signer in signers}))
        text = f"needs a valid signature of {author_domain}, has {found}"
        self._find("unverified", delivery, text)

    def _find(
        self, what: str, about: tuple[str, str], text: str, count: int = 1
    ) -> None:
        self.counts[what] += count
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(f"{what}: {about[0]} to {about[1]}: {text}")
