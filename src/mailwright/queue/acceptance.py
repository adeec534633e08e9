"""From a submission to units of work. Values in, values out.

Up to :data:`UNIT_RECIPIENTS` recipients are one unit: message, content and deliveries
commit together. A larger submission is several units; its deliveries become due, and
their events are written, with the last one. What a crash leaves unfinished was never
acknowledged and is discarded at the next start. A repeatable create takes that way too:
the answer that it keeps says who is suppressed, which the first units find out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final

from mailwright.accounts.quotas import Booking
from mailwright.clock import to_micros
from mailwright.envelope import Recipient
from mailwright.events.log import About, write_event
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, MessageId, Subject
from mailwright.queue.content import Content
from mailwright.queue.delivery import State
from mailwright.queue.line import Line
from mailwright.queue.statements import (
    ADD_TO_LINE,
    COMPLETE_MESSAGE,
    INSERT_CONTENT,
    INSERT_DELIVERY,
    INSERT_MESSAGE,
    MAKE_DUE,
    NEVER,
    QueueStatements,
    insert_finished,
)
from mailwright.store.json_text import to_json
from mailwright.store.statements import Bound, Row, Step, Unit, Value
from mailwright.submission import Submission

UNIT_RECIPIENTS: Final = 100
#: Where deliveries stand in their line when nothing says how engaged they are.
DEFAULT_BAND: Final = 4
_NOTHING: Final[Mapping[str, object]] = {}


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A recipient of a submission with its ids.

    Attributes:
        not_before: earliest delivery, by its submitter's choice or by pacing.
    """

    id: DeliveryId
    recipient: Recipient
    subject: Subject
    line: Line
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A submission with everything that its rows need.

    Attributes:
        body_file: name of the file that holds the body, or ``None``: in the row.
        checksum: of header and body, see :func:`mailwright.queue.content.checksum_of`.
        epoch: of this start of the node.
        booking: what its credential's limits granted; commits with it.
    """

    submission: Submission
    message: MessageId
    content: int
    deliveries: Sequence[NewDelivery]
    expires_at: datetime
    body_file: str | None
    checksum: int
    node: int
    epoch: int
    booking: Booking | None = None

    def due_at(self, new: NewDelivery) -> datetime:
        """Return when ``new`` is due first."""
        if new.not_before is None:
            return self.submission.accepted_at
        return max(self.submission.accepted_at, new.not_before)

    @property
    def counts(self) -> tuple[Bound, ...]:
        """What counts it against its credential's limits."""
        return () if self.booking is None else self.booking.statements

    def about(self, new: NewDelivery) -> About:
        """Return whom the events of ``new`` are about."""
        return About(
            self.submission.tenant,
            self.message,
            new.id,
            new.subject,
            self.submission.accepted_at.date(),
        )


def whole_unit(acceptance: Acceptance, statements: QueueStatements) -> Unit:
    """Return the one unit of a submission with few recipients.

    The result of step ``n`` (from 1) is empty when recipient ``n`` is suppressed.
    """
    recipients = (
        Step(
            guard=_may_queue(acceptance, statements, new),
            then=(
                _row_of(acceptance, new, to_micros(acceptance.due_at(new))),
                *_queued(acceptance, new),
            ),
            otherwise=partial(_suppressed, acceptance, new),
        )
        for new in acceptance.deliveries
    )
    rows = _message_rows(acceptance, is_complete=True)
    message = Step(then=(*rows, *acceptance.counts))
    return Unit((message, *recipients), grows=True)


def part_units(
    acceptance: Acceptance, statements: QueueStatements
) -> list[tuple[Unit, Sequence[NewDelivery]]]:
    """Return the units of a large submission but the last, with their recipients.

    The first also stores the message. In the result of each, one step for each
    recipient is empty when it is suppressed; the first unit has one step more, before.
    """
    units: list[tuple[Unit, Sequence[NewDelivery]]] = []
    remaining = iter(acceptance.deliveries)
    head: tuple[Step, ...] = (Step(then=_message_rows(acceptance, is_complete=False)),)
    while part := list(islice(remaining, UNIT_RECIPIENTS)):
        steps = (
            Step(
                guard=_may_queue(acceptance, statements, new),
                then=(_row_of(acceptance, new, NEVER),),
            )
            for new in part
        )
        units.append((Unit((*head, *steps), grows=True), part))
        head = ()
    return units


def last_unit(
    acceptance: Acceptance, outcomes: Sequence[Sequence[Row]], guards: Sequence[Bound]
) -> Unit:
    """Return the unit that makes a large submission deliverable.

    ``outcomes`` are the rows that the earlier units gave for each recipient: none when
    it is suppressed.
    """
    complete = COMPLETE_MESSAGE(message_id=acceptance.message)
    steps = [Step(then=(complete, *guards, *acceptance.counts))]
    for new, rows in zip(acceptance.deliveries, outcomes, strict=True):
        if rows:
            due = to_micros(acceptance.due_at(new))
            make_due = MAKE_DUE(delivery_id=new.id, due=due)
            steps.append(Step(guard=make_due, then=_queued(acceptance, new)))
        else:
            steps.append(Step(then=_suppressed(acceptance, new)))
    return Unit(tuple(steps), grows=True)


def unconditional_rows(
    acceptance: Acceptance, data: Mapping[str, object]
) -> tuple[Bound, ...]:
    """Return statements that accept a message of ours with one recipient.

    They go into somebody else's unit. Whether the recipient is suppressed is looked at
    when the delivery is claimed. ``data`` is what the event ``received`` says.
    """
    (new,) = acceptance.deliveries
    return (
        *_message_rows(acceptance, is_complete=True),
        _row_of(acceptance, new, to_micros(acceptance.due_at(new))),
        *_queued(acceptance, new, data),
    )


def content_of(acceptance: Acceptance) -> Content:
    """Return what a session will need of the message."""
    submission = acceptance.submission
    envelope = submission.envelope
    return Content(
        acceptance.message,
        "" if envelope.reverse_path is None else envelope.reverse_path.canonical,
        "" if envelope.ret is None else envelope.ret.value,
        envelope.envid,
        submission.sending_domain,
        submission.accepted_at,
        submission.header,
        submission.body,
    )


def _message_rows(acceptance: Acceptance, *, is_complete: bool) -> tuple[Bound, ...]:
    submission = acceptance.submission
    envelope = submission.envelope
    in_row = acceptance.body_file is None
    reverse_path = envelope.reverse_path
    return (
        INSERT_CONTENT(
            id=acceptance.content,
            header=submission.header,
            body=submission.body if in_row else None,
            body_file=acceptance.body_file,
            body_octets=len(submission.body),
            checksum=acceptance.checksum,
            refs=1,
        ),
        INSERT_MESSAGE(
            id=acceptance.message,
            tenant=submission.tenant,
            credential=submission.credential,
            stream=submission.stream,
            campaign=None,
            content=acceptance.content,
            accepted_at=to_micros(submission.accepted_at),
            is_complete=int(is_complete),
            reverse_path="" if reverse_path is None else reverse_path.canonical,
            ret="" if envelope.ret is None else envelope.ret.value,
            envid=envelope.envid,
            sending_domain=submission.sending_domain,
            message_id=submission.message_id,
            size_octets=len(submission.header) + len(submission.body),
            tags=to_json(submission.tags),
            metadata=to_json(submission.metadata),
            edits=to_json(submission.edits),
        ),
    )


def _may_queue(
    acceptance: Acceptance, statements: QueueStatements, new: NewDelivery
) -> Bound:
    submission = acceptance.submission
    return statements.may_queue(
        subject=new.subject,
        tenant=submission.tenant,
        stream=submission.stream,
        accepted_at=to_micros(submission.accepted_at),
    )


def _row_of(acceptance: Acceptance, new: NewDelivery, due_at: int) -> Bound:
    submission = acceptance.submission
    not_before = new.not_before
    return INSERT_DELIVERY(
        id=new.id,
        message=acceptance.message,
        line=new.line.id,
        band=DEFAULT_BAND,
        due_at=due_at,
        not_before=None if not_before is None else to_micros(not_before),
        expires_at=to_micros(acceptance.expires_at),
        state=int(State.QUEUED),
        attempt=0,
        ambiguous=0,
        lost=0,
        epoch=None,
        source=None,
        tenant=submission.tenant,
        stream=submission.stream,
        recipient=new.recipient.address.canonical,
        subject=new.subject,
        notify=",".join(sorted(new.recipient.notify)),
        orcpt=new.recipient.orcpt,
        accepted_at=to_micros(submission.accepted_at),
        selector=submission.selector,
        token_key=None,
        token_day=None,
        last_reply=None,
        is_delay_reported=0,
    )


def _queued(
    acceptance: Acceptance,
    new: NewDelivery,
    data: Mapping[str, object] = _NOTHING,
) -> tuple[Bound, ...]:
    return (
        ADD_TO_LINE(
            **new.line.key.to_row(),
            id=new.line.id,
            count=1,
            next_due_at=to_micros(acceptance.due_at(new)),
            hold=None,
            owner=acceptance.node,
            epoch=acceptance.epoch,
            until=None,
        ),
        write_event(
            acceptance.node,
            acceptance.submission.accepted_at,
            EventType.RECEIVED,
            acceptance.about(new),
            data,
        ),
    )


def _suppressed(acceptance: Acceptance, new: NewDelivery) -> tuple[Bound, ...]:
    submission = acceptance.submission
    at = to_micros(submission.accepted_at)
    row: Mapping[str, Value] = {
        "id": new.id,
        "message": acceptance.message,
        "tenant": submission.tenant,
        "stream": submission.stream,
        "campaign": None,
        "recipient": new.recipient.address.canonical,
        "subject": new.subject,
        "state": int(State.SUPPRESSED),
        "attempt": 0,
        "ambiguous": 0,
        "source": None,
        "accepted_at": at,
        "finished_at": at,
        "code": 0,
        "enhanced": "",
        "reply": "",
        "category": "",
    }
    return (
        insert_finished(submission.accepted_at.date())(**row),
        write_event(
            acceptance.node,
            submission.accepted_at,
            EventType.SUPPRESSED,
            acceptance.about(new),
            {},
        ),
    )
