"""What a delivery session is handed, and what it gives back."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from mailwright.ids import DeliveryId, MessageId, SendingDomainId
from mailwright.merge import Merge
from mailwright.reply import Reply

#: There are no more copies of a body above this than must be.
LARGE_OCTETS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Parcel:
    """One delivery, claimed durably (its row says ``sending``), with its message.

    Attributes:
        attempt: number of this attempt, from 1; settling is conditional on it.
        header: stored header section with its final empty line.
        body: stored body.
        recipient: canonical address.
        reverse_path: canonical address; ``""`` is the null reverse-path.
        accepted_at: DKIM ``t=``, so that a retry has the same octets.
        selector: of the DKIM key that signs it.
        notify: RFC 3461 NOTIFY keywords joined by commas, or ``""``.
        merge: of a campaign's recipient: ``header`` is empty, ``body`` is the content as
            JSON, ``accepted_at`` is the campaign's date; the session renders it.
    """

    delivery: DeliveryId
    attempt: int
    message: MessageId
    header: bytes
    body: bytes
    recipient: str
    reverse_path: str
    accepted_at: datetime
    sending_domain: SendingDomainId
    selector: str
    notify: str = ""
    orcpt: str = ""
    ret: str = ""
    envid: str = ""
    merge: Merge | None = None

    @property
    def without_large_body(self) -> "Parcel":
        """The same without a body that is too large to be held for longer than needed.

        No report returns such a body, so this asks for the header alone.
        """
        if len(self.body) <= LARGE_OCTETS:
            return self
        return replace(self, body=b"", ret="HDRS" if self.ret else "")


class End(Enum):
    """How an attempt ended."""

    REPLIED = "replied"  # there is a verdict: ``reply``
    AMBIGUOUS = "ambiguous"  # lost between the final dot and its reply
    NOT_OFFERED = "not offered"  # no content went out; the attempt does not count
    UNSIGNABLE = "unsignable"  # must be signed and cannot be: waits; does not count
    UNRENDERED = "unrendered"  # cannot be made for this recipient: never goes out
    ORPHANED = "orphaned"  # may have arrived; the process that carried it died


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one delivery.

    Attributes:
        reply: the receiver's, or a local one that says what happened.
        hop: host name and address that was spoken to, or ``""``.
        tls: protocol version, or ``""`` for clear text.
        edits: what the session edited for this receiver.
        has_dsn: the receiver was told what to report and will do so (RFC 3461).
    """

    parcel: Parcel
    end: End
    reply: Reply
    hop: str = ""
    tls: str = ""
    edits: tuple[str, ...] = ()
    has_dsn: bool = False


class Outcome(Enum):
    """What becomes of a delivery after an attempt."""

    DELIVERED = "delivered"  # the receiver took it
    RETRY = "retry"  # again, by the retry ladder
    REQUEUE = "requeue"  # about us, not about the recipient: again, when that changed
    FAIL = "fail"  # never again


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means.

    Attributes:
        category: of the closed list of categories.
    """

    outcome: Outcome
    category: str
