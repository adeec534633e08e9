"""A delivery that was claimed: its row as a value, and the parcel that it becomes."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mailwright.attempt import Attempt, End, Parcel
from mailwright.clock import from_micros, to_micros
from mailwright.events.log import About
from mailwright.ids import DeliveryId, MessageId, SourceId, StreamId, Subject, TenantId
from mailwright.queue.content import Content
from mailwright.queue.line import Line
from mailwright.reply import Origin, Phase, Reply
from mailwright.report import LastAttempt
from mailwright.store.json_text import to_json
from mailwright.store.statements import Row

#: Characters of a reply's text that a row keeps.
MAX_KEPT_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery's row as a claim (or a look for doomed ones) returned it.

    Attributes:
        attempt: number of the attempt under way, from 1.
        source: of its first attempt.
        ambiguous: earlier attempts that may have arrived.
        lost: of these, those whose connection was lost between dot and reply.
        last: how the attempt before this one ended, as far as it was offered.
        is_delay_reported: a DSN has said that it is late.
    """

    line: Line
    id: DeliveryId
    attempt: int
    message: MessageId
    recipient: str
    subject: Subject
    tenant: TenantId
    stream: StreamId
    accepted_at: datetime
    expires_at: datetime
    selector: str
    source: SourceId | None
    ambiguous: int
    lost: int
    notify: str
    orcpt: str
    not_before: datetime | None = None
    last: LastAttempt | None = None
    is_delay_reported: bool = False

    @property
    def accepted_on(self) -> str:
        """The UTC day that its public id names, in ISO form."""
        return self.accepted_at.date().isoformat()

    @property
    def about(self) -> About:
        """Whom its events are about."""
        return About(
            self.tenant,
            self.message,
            self.id,
            self.subject,
            self.accepted_at.date(),
            self.line.key.campaign,
        )


def claimed_of(line: Line, row: Row) -> Claimed:
    """Return the value of a row of ``statements.claim`` or ``statements.doomed``."""
    return Claimed(
        line,
        DeliveryId(row[0]),
        row[1],
        MessageId(row[2]),
        row[3],
        Subject(row[4]),
        TenantId(row[5]),
        StreamId(row[6]),
        from_micros(row[7]),
        from_micros(row[8]),
        row[9],
        None if row[10] is None else SourceId(row[10]),
        row[11],
        row[12],
        row[13],
        row[14],
        None if row[15] is None else from_micros(row[15]),
        None if row[16] is None else _last_of(row[16]),
        bool(row[17]),
    )


def _last_of(text: str) -> LastAttempt:
    """Return the value of a row's ``last_reply``."""
    code, enhanced, said, phase, origin, hop, at = json.loads(text)
    reply = Reply(code, enhanced, said, Phase(phase), Origin(origin))
    return LastAttempt(reply, hop, from_micros(at))


def last_reply_of(attempt: Attempt, now: datetime) -> str | None:
    """Return what a row keeps of ``attempt``; ``None`` when it was never offered."""
    if attempt.end is End.NOT_OFFERED:
        return None
    reply = attempt.reply
    return to_json(
        (
            reply.code,
            reply.enhanced,
            reply.text[:MAX_KEPT_CHARS],
            *(reply.phase, reply.origin, attempt.hop, to_micros(now)),
        )
    )


def parcel_of(claimed: Claimed, content: Content) -> Parcel:
    """Return what a session is handed of a claimed delivery."""
    return Parcel(
        claimed.id,
        claimed.attempt,
        claimed.message,
        content.header,
        content.body,
        claimed.recipient,
        content.reverse_path,
        content.accepted_at,
        content.sending_domain,
        claimed.selector,
        claimed.notify,
        claimed.orcpt,
        content.ret,
        content.envid,
        content.merge,
    )


def empty_parcel(claimed: Claimed) -> Parcel:
    """Return a parcel for an attempt that never had its content in hand."""
    return Parcel(
        claimed.id,
        claimed.attempt,
        claimed.message,
        b"",
        b"",
        claimed.recipient,
        "",
        claimed.accepted_at,
        claimed.line.key.sending_domain,
        claimed.selector,
    )
