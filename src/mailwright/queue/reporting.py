"""Delivery status notifications: when one is due, and how it gets into the queue.

A DSN is a message with one delivery, like any other. Its rows are added to the unit that
settles the delivery it is about, so there is exactly one for each outcome, whatever dies
in between. It leaves with the null reverse-path and NOTIFY=NEVER: nobody ever reports on
a report (RFC 3461 §6.1, RFC 5321 §6.1).
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from mailwright.accounts.directory import Directory, DsnPolicy, StreamClass
from mailwright.address import Address, AddressError, parse_address
from mailwright.attempt import Attempt
from mailwright.envelope import Envelope, Notify, Recipient, Ret
from mailwright.events.types import EventType
from mailwright.ids import DeliveryId, Kind, MessageId, Subject, format_public
from mailwright.queue.acceptance import (
    Acceptance,
    NewDelivery,
    content_of,
    unconditional_rows,
)
from mailwright.queue.book import LineBook
from mailwright.queue.claimed import Claimed
from mailwright.queue.content import Content, Contents, checksum_of
from mailwright.queue.content_statements import RETURNED_OCTETS
from mailwright.queue.delivery import State
from mailwright.queue.line import Line, LineKey
from mailwright.queue.notify import action_of, is_allowed, is_late
from mailwright.queue.pace import Pace
from mailwright.queue.ports import Composer
from mailwright.queue.settle import Move
from mailwright.queue.tally import Tally
from mailwright.report import Action, Cause, LastAttempt, Report
from mailwright.store.ports import UnitStore
from mailwright.store.statements import Bound
from mailwright.submission import Submission

logger = logging.getLogger(__name__)

#: Reports leave from the pool of this name, if the settings have one.
SYSTEM_POOL: Final = "system"
_CAUSES: Final = {
    State.BOUNCED: Cause.REFUSED,
    State.EXPIRED: Cause.EXPIRED,
    State.SUPPRESSED: Cause.SUPPRESSED,
}


class Original(Protocol):
    """What a report tells of the message; parcels and contents have it."""

    @property
    def reverse_path(self) -> str:
        """Canonical; ``""`` is the null reverse-path."""
        ...

    @property
    def ret(self) -> str:
        """``FULL``, ``HDRS`` or ``""``."""
        ...

    @property
    def envid(self) -> str:
        """Decoded, or ``""``."""
        ...

    @property
    def header(self) -> bytes:
        """Header section with its final empty line; empty when it is gone."""
        ...

    @property
    def body(self) -> bytes:
        """The body."""
        ...


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A DSN on its way into the queue, with the unit of what it reports.

    Attributes:
        message: its public id.
        statements: to add to the unit.
        line: that it joins; kept open until :meth:`ended`.
    """

    message: str
    statements: tuple[Bound, ...]
    line: Line
    due_at: datetime
    content: Content
    on_stored: Callable[["Enclosure"], None] = field(repr=False)

    def ended(self, *, is_stored: bool) -> None:
        """Take note that the unit is over; to be called once.

        ``is_stored``: it is committed and took effect; else no row of this was written.
        """
        self.line.accepting -= 1
        if is_stored:
            self.on_stored(self)


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What all reports of a node have in common.

    Attributes:
        reporting_mta: host name of the node.
        expires: how long one is tried.
    """

    reporting_mta: str
    expires: timedelta


class Reporter:
    """Makes the rows of DSNs. Used on the event loop; never blocks."""

    def __init__(
        self,
        *,
        store: UnitStore,
        next_id: Callable[[], int],
        book: LineBook,
        contents: Contents,
        directory: Callable[[], Directory],
        subject_of: Callable[[str], Subject],
        composer: Composer,
        settings: ReportSettings,
        on_queued: Callable[[Line], None],
        tally: Tally,
    ) -> None:
        """``on_queued`` is told of each line that got a report."""
        self._store = store
        self._next_id = next_id
        self._book = book
        self._contents = contents
        self._directory = directory
        self._subject_of = subject_of
        self._composer = composer
        self._settings = settings
        self._on_queued = on_queued
        self._tally = tally
        self._pace = Pace()

    def apply(self, settings: ReportSettings) -> None:
        """Take over new settings; they act on reports made from now on."""
        self._settings = settings

    def of_attempt(
        self, claimed: Claimed, attempt: Attempt, move: Move, now: datetime
    ) -> Enclosure | None:
        """Return the report of an attempt that ends with ``move``, if one is due.

        Costs nothing to speak of when none is; else some 0.2 ms.
        """
        action = action_of(
            move.state,
            claimed.notify,
            has_dsn=attempt.has_dsn,
            is_late=is_late(claimed, move, now),
        )
        if action is None or not self._is_allowed(claimed):
            return None
        cause = None
        if action is Action.FAILED:
            cause = Cause.LOST if move.lost else _CAUSES[move.state]
        last = LastAttempt(attempt.reply, attempt.hop, now)
        return self._enclose(claimed, attempt.parcel, action, cause, last, now)

    def of_end(
        self, claimed: Claimed, original: Original, state: State, now: datetime
    ) -> Enclosure | None:
        """Return the report of a delivery that ends without an attempt, if one is due.

        ``state`` is ``EXPIRED`` or ``SUPPRESSED``.
        """
        if not self.may_report(claimed, state):
            return None
        cause = _CAUSES[state]
        last = claimed.last if cause is Cause.EXPIRED else None
        return self._enclose(claimed, original, Action.FAILED, cause, last, now)

    def may_report(self, claimed: Claimed, state: State) -> bool:
        """Whether a report is due on ``claimed`` moving to ``state``, by its row alone.

        True means: have its original at hand.
        """
        action = action_of(state, claimed.notify, is_late=True)
        return action is not None and self._is_allowed(claimed)

    async def originals(
        self, claimed: Iterable[Claimed]
    ) -> Mapping[MessageId, Content]:
        """Return what reports on ``claimed`` tell of their messages.

        Raises:
            StoreError: it cannot be read.
        """
        return await self._contents.originals({each.message for each in claimed})

    def of_suppressed(
        self, acceptance: Acceptance, new: NewDelivery
    ) -> Enclosure | None:
        """Return the report of a recipient that was suppressed at once, if one is due."""
        submission = acceptance.submission
        claimed = Claimed(
            new.line,
            new.id,
            0,
            acceptance.message,
            new.recipient.address.canonical,
            new.subject,
            submission.tenant,
            submission.stream,
            submission.accepted_at,
            acceptance.expires_at,
            submission.selector,
            None,
            0,
            0,
            ",".join(sorted(new.recipient.notify)),
            new.recipient.orcpt,
        )
        original = content_of(acceptance)
        return self.of_end(claimed, original, State.SUPPRESSED, submission.accepted_at)

    def _stored(self, enclosure: "Enclosure") -> None:
        self._tally.count(EventType.RECEIVED, enclosure.line.key.pool)
        enclosure.line.gained(enclosure.due_at)
        self._contents.put(enclosure.content)
        self._on_queued(enclosure.line)

    def _is_allowed(self, claimed: Claimed) -> bool:
        key = claimed.line.key
        if key.campaign is not None:
            return False  # its results say it, recipient by recipient
        credential = self._directory().credentials_by_id.get(key.credential)
        policy = DsnPolicy.ALL if credential is None else credential.dsn
        return is_allowed(policy, key.stream_class)

    def _enclose(
        self,
        claimed: Claimed,
        original: Original,
        action: Action,
        cause: Cause | None,
        last: LastAttempt | None,
        now: datetime,
    ) -> Enclosure | None:
        if not original.reverse_path:
            return None  # RFC 5321 §6.1: never in answer to the null reverse-path
        is_full = (
            action is Action.FAILED  # RFC 3461 §4.3: RET is about failures
            and original.ret == Ret.FULL
            and len(original.body) <= RETURNED_OCTETS
        )
        delivery = format_public(Kind.DELIVERY, claimed.accepted_at, claimed.id)
        report = Report(
            action,
            cause,
            delivery,
            original.reverse_path,
            claimed.recipient,
            claimed.orcpt,
            original.envid,
            original.header,
            original.body if is_full else None,
            claimed.accepted_at,
            last,
            claimed.expires_at if action is Action.DELAYED else None,
        )
        submission = self._submission(claimed, report, now)
        return None if submission is None else self._accept(report, *submission)

    def _submission(
        self, claimed: Claimed, report: Report, now: datetime
    ) -> tuple[MessageId, Submission] | None:
        """Return the DSN as a message, signed by the domain of what it reports."""
        key, directory = claimed.line.key, self._directory()
        domain = directory.sending_domains_by_id.get(key.sending_domain)
        to = _address(report.reverse_path)
        if domain is None or to is None:
            what = "its sending domain" if domain is None else "its reverse-path"
            logger.error("delivery %s gets no DSN: %s is lost", report.delivery, what)
            return None
        settings, number = self._settings, MessageId(self._next_id())
        public = format_public(Kind.MESSAGE, now, number)
        message_id = f"<{public}@{domain.domain}>"
        header, body = self._composer.compose(
            report,
            reporting_mta=settings.reporting_mta,
            domain=domain.domain,
            message_id=message_id,
            at=now,
        )
        system = directory.pools_by_name.get(SYSTEM_POOL)
        dkim_key = domain.primary_key
        due_at = self._pace.next_at(report.reverse_path, now)
        return number, Submission(
            tenant=key.tenant,
            credential=key.credential,
            stream=key.stream,
            is_bulk=key.stream_class is StreamClass.BULK,
            sending_domain=key.sending_domain,
            pool=key.pool if system is None else system.id,
            envelope=Envelope(None, (Recipient(to, frozenset({Notify.NEVER})),)),
            header=header,
            body=body,
            message_id=message_id,
            selector=claimed.selector if dkim_key is None else dkim_key.selector,
            accepted_at=now,
            not_before=None if due_at <= now else due_at,
            expires_at=due_at + settings.expires,
        )

    def _accept(
        self, report: Report, number: MessageId, submission: Submission
    ) -> Enclosure:
        (recipient,) = submission.envelope.recipients
        now = submission.accepted_at
        key = LineKey(
            submission.tenant,
            None,
            submission.stream,
            submission.sending_domain,
            submission.credential,
            StreamClass.BULK if submission.is_bulk else StreamClass.TRANSACTIONAL,
            recipient.address.domain,
            submission.pool,
        )
        line = self._book.line_for(key, now)
        subject = self._subject_of(recipient.address.canonical)
        delivery = NewDelivery(
            DeliveryId(self._next_id()), recipient, subject, line, submission.not_before
        )
        acceptance = Acceptance(
            submission,
            number,
            self._next_id(),
            [delivery],
            submission.expires_at or now + self._settings.expires,
            None,
            checksum_of(submission.header, submission.body),
            self._store.node,
            self._store.epoch,
        )
        data = {"dsn": report.action.value, "of": report.delivery}
        line.accepting += 1
        return Enclosure(
            format_public(Kind.MESSAGE, now, number),
            unconditional_rows(acceptance, data),
            line,
            acceptance.due_at(delivery),
            content_of(acceptance),
            self._stored,
        )


def _address(canonical: str) -> Address | None:
    try:
        return parse_address(canonical)
    except AddressError:
        return None
