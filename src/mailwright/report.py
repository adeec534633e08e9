"""What a delivery status notification says: a value between who decides and who writes.

The queue decides that a report is due and hands over its facts; the bounce room knows
the format (RFC 3464).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailwright.reply import Reply


class Action(StrEnum):
    """What became of a delivery; the values are those of RFC 3464 §2.3.3.

    ``delivered`` and ``expanded`` are missing: a relay does neither.
    """

    FAILED = "failed"  # it will not be tried again
    DELAYED = "delayed"  # it is still tried
    RELAYED = "relayed"  # taken by a receiver that makes no reports of its own


class Cause(StrEnum):
    """Why a delivery failed."""

    REFUSED = "refused"  # a reply says so
    EXPIRED = "expired"  # its time ran out
    LOST = "lost"  # the connection broke after the content, more than once
    SUPPRESSED = "suppressed"  # we must not mail this recipient


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """How the last attempt of a delivery ended.

    Attributes:
        reply: the receiver's, or a local one that says what happened.
        hop: ``host [address]:port`` that was spoken to, or ``""``.
        at: when it ended.
    """

    reply: Reply
    hop: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """The facts of one delivery that its submitter is told.

    Attributes:
        cause: of a failure; ``None`` otherwise.
        delivery: its public id.
        reverse_path: whom the report goes to; canonical, never null.
        recipient: the address in our envelope; canonical.
        orcpt: ``addr-type;address`` as the submitter gave it, decoded, or ``""``.
        envid: as the submitter gave it, decoded, or ``""``.
        header: stored header section of the message with its final empty line; ``b""``
            when it is gone.
        body: stored body if all of the message is to be returned, else ``None``.
        arrived_at: when the message was accepted.
        last: the last attempt, if there was one.
        retry_until: when a delayed delivery is given up.
    """

    action: Action
    cause: Cause | None
    delivery: str
    reverse_path: str
    recipient: str
    orcpt: str
    envid: str
    header: bytes
    body: bytes | None
    arrived_at: datetime
    last: LastAttempt | None = None
    retry_until: datetime | None = None
