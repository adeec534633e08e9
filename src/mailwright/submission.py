"""A message that a door has checked and edited, and what accepting it gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mailwright.envelope import Envelope
from mailwright.errors import MailwrightError
from mailwright.ids import CredentialId, PoolId, SendingDomainId, StreamId, TenantId
from mailwright.reply import Reply


@dataclass(frozen=True, slots=True)
class Submission:
    """What a door hands to the queue: every check passed, edited for storing.

    Attributes:
        header: the header section with its final empty line (``… CRLF CRLF``).
        body: the body's octets.
        message_id: value of the Message-ID field, with angle brackets.
        selector: of the DKIM key that will sign it.
        not_before: earliest delivery, or ``None``.
        expires_at: when queued deliveries are given up, or ``None`` for the default.
        edits: what intake changed, one short text each.
    """

    tenant: TenantId
    credential: CredentialId
    stream: StreamId
    is_bulk: bool
    sending_domain: SendingDomainId
    pool: PoolId
    envelope: Envelope
    header: bytes
    body: bytes
    message_id: str
    selector: str
    accepted_at: datetime
    not_before: datetime | None = None
    expires_at: datetime | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    edits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedRecipient:
    """One recipient of an accepted message; ``delivery`` is the public id."""

    delivery: str
    address: str
    is_suppressed: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became durable; ``message`` is the public id."""

    message: str
    recipients: Sequence[AcceptedRecipient]


class NotAcceptedError(MailwrightError):
    """Nothing of the submission is stored; ``reply`` (4xx or 5xx) says why.

    Attributes:
        retry_after_s: seconds after which trying again may help, where that is known.
    """

    def __init__(self, reply: Reply, retry_after_s: float | None = None) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.retry_after_s = retry_after_s


class PatienceOverError(MailwrightError):
    """A commit has begun and did not end within the client's patience.

    Whether the message is stored cannot be told: close without a reply.
    """
