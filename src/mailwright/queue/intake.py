"""The door into the queue: makes submissions durable.

``accept`` returns after the commit was synced, never before. A unit that was handed in
goes on whatever becomes of the caller: a client that disconnects cannot tear a commit
apart. What follows a commit (the line's count, waking the scheduler) happens in the
commit's callback, not in the caller.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from time import perf_counter
from typing import Final

from mailwright.accounts.directory import StreamClass
from mailwright.accounts.quota import Excess
from mailwright.accounts.quotas import Booking, Quotas
from mailwright.envelope import Recipient
from mailwright.events.types import EventType
from mailwright.ids import (
    DeliveryId,
    Kind,
    LineId,
    MessageId,
    Subject,
    format_public,
)
from mailwright.queue.acceptance import (
    UNIT_RECIPIENTS,
    Acceptance,
    NewDelivery,
    content_of,
    last_unit,
    part_units,
    whole_unit,
)
from mailwright.queue.book import LineBook
from mailwright.queue.content import Contents, checksum_of
from mailwright.queue.line import Line, LineKey
from mailwright.queue.patient_commits import FULL, TROUBLE, PatientCommits
from mailwright.queue.reporting import Enclosure, Reporter
from mailwright.queue.statements import (
    DISCARD_CONTENT,
    DISCARD_DELIVERIES,
    DISCARD_MESSAGE,
    QueueStatements,
)
from mailwright.queue.tally import Tally
from mailwright.reply import Phase, local_reply
from mailwright.store.ports import (
    StoreConflictError,
    StoreError,
    StoreFullError,
    UnitStore,
)
from mailwright.store.statements import Bound, Row, Step, Unit, UnitResult, Urgency
from mailwright.store.statements import unit as bulk_unit
from mailwright.submission import (
    Accepted,
    AcceptedRecipient,
    NotAcceptedError,
    PatienceOverError,
    Submission,
)

logger = logging.getLogger(__name__)

#: Bodies above this are files.
FILE_OCTETS: Final = 65_536


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """How long things may take.

    Attributes:
        patience: how long a client waits for the answer to its final dot.
        expires_transactional: when a delivery of such a stream is given up.
        expires_bulk: the same for bulk.
    """

    patience: timedelta
    expires_transactional: timedelta
    expires_bulk: timedelta


class QueueIntake:
    """Implements the doors' port ``Intake``."""

    def __init__(  # noqa: PLR0913 - the wiring hands collaborators in by keyword
        self,
        *,
        store: UnitStore,
        next_id: Callable[[], int],
        statements: QueueStatements,
        book: LineBook,
        contents: Contents,
        subject_of: Callable[[str], Subject],
        write_file: Callable[[date, int, bytes], str],
        settings: IntakeSettings,
        on_queued: Callable[[Line], None],
        tally: Tally | None = None,
        quotas: Quotas | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        """``write_file`` makes a body durable in a file; it is called in a thread.

        ``on_queued`` is told of each line that got deliveries, on the loop. Without
        ``quotas`` nothing is limited.
        """
        self._store = store
        self._next_id = next_id
        self._statements = statements
        self._book = book
        self._contents = contents
        self._subject_of = subject_of
        self._write_file = write_file
        self._settings = settings
        self._commits = PatientCommits(store, lambda: self._settings.patience)
        self._on_queued = on_queued
        self._tally = tally or Tally()
        self._quotas = quotas
        self._reporter = reporter

    def apply(self, settings: IntakeSettings) -> None:
        """Take over new times; they act on what is accepted from now on."""
        self._settings = settings

    async def accept(
        self,
        submission: Submission,
        guards: Callable[[Accepted], Sequence[Bound]] | None = None,
    ) -> Accepted:
        """Return when the message and all its deliveries are committed and synced.

        Cost: one commit shared with whatever waits; two with ``guards`` or above 100
        recipients; a file sync before for a body above 64 KB.

        Raises:
            NotAcceptedError: nothing is stored (disk full, overload, patience over, over
                a limit of the credential).
            PatienceOverError: it cannot be known in time; close without a reply.
            StoreConflictError: a guard's key is already there; nothing is stored.
        """
        if self._store.is_short:
            raise NotAcceptedError(FULL)
        began_at = perf_counter()
        accepted = await self._accept(submission, guards)
        self._tally.accepts.observe(perf_counter() - began_at)
        return accepted

    async def _accept(
        self,
        submission: Submission,
        guards: Callable[[Accepted], Sequence[Bound]] | None,
    ) -> Accepted:
        message = MessageId(self._next_id())
        booking = self._book_quota(submission)
        try:
            stored: tuple[str | None, int]
            if len(submission.body) > FILE_OCTETS:
                stored = await self._write_body(submission, message)
            else:
                stored = None, checksum_of(submission.header, submission.body)
            acceptance = self._acceptance(submission, message, stored, booking)
        except BaseException:
            if booking is not None and self._quotas is not None:
                self._quotas.end(booking, is_stored=False)
            raise
        for new in acceptance.deliveries:
            new.line.accepting += 1
        if guards is None and len(acceptance.deliveries) <= UNIT_RECIPIENTS:
            unit = whole_unit(acceptance, self._statements)
            result = await self._commits.commit(
                unit, lambda done: self._finish(acceptance, done and done[1:])
            )
            await self._report(acceptance, result[1:])
            return _accepted(acceptance, result[1:])
        return await self._accept_in_parts(acceptance, guards)

    async def _accept_in_parts(
        self,
        acceptance: Acceptance,
        guards: Callable[[Accepted], Sequence[Bound]] | None,
    ) -> Accepted:
        outcomes: list[Sequence[Row]] = []
        try:
            for unit, part in part_units(acceptance, self._statements):
                result = await self._commits.commit(unit)
                outcomes += result[len(result) - len(part) :]
            accepted = _accepted(acceptance, outcomes)
            unit = last_unit(acceptance, outcomes, guards(accepted) if guards else ())
        except BaseException:
            self._finish(acceptance, None)
            self._discard(acceptance)
            raise
        try:
            await self._commits.commit(
                unit, lambda done: self._finish(acceptance, done and outcomes)
            )
        except (NotAcceptedError, StoreConflictError):
            self._discard(acceptance)
            raise
        await self._report(acceptance, outcomes)
        return accepted

    async def _report(
        self, acceptance: Acceptance, outcomes: Sequence[Sequence[Row]]
    ) -> None:
        """Send the DSNs that a submitter has asked for on suppressed recipients.

        They are committed before the submission is answered: what a crash keeps from
        being reported was not acknowledged, and is submitted again.
        """
        reporter, enclosed = self._reporter, []
        if reporter is not None:
            for new, rows in zip(acceptance.deliveries, outcomes, strict=True):
                if not rows and new.recipient.notify:
                    report = reporter.of_suppressed(acceptance, new)
                    enclosed += [] if report is None else [report]
        for at in range(0, len(enclosed), UNIT_RECIPIENTS):
            await self._commit_reports(enclosed[at : at + UNIT_RECIPIENTS])

    async def _commit_reports(self, enclosed: Sequence[Enclosure]) -> None:
        def ended(result: UnitResult | None) -> None:
            for each in enclosed:
                each.ended(is_stored=result is not None)

        unit = Unit(tuple(Step(then=each.statements) for each in enclosed))
        try:
            await self._commits.commit(unit, ended)
        except (NotAcceptedError, PatienceOverError) as error:
            # The message itself is accepted; refusing it now would send it twice.
            logger.warning(
                "%d suppressed recipients get no DSN: %s", len(enclosed), error
            )

    def _finish(
        self, acceptance: Acceptance, outcomes: Sequence[Sequence[Row]] | None
    ) -> None:
        """Take into the book what was committed; ``None``: nothing was."""
        if acceptance.booking is not None and self._quotas is not None:
            self._quotas.end(acceptance.booking, is_stored=bool(outcomes))
        touched: dict[LineId, Line] = {}
        for position, new in enumerate(acceptance.deliveries):
            line = new.line
            line.accepting -= 1
            if not outcomes:
                continue
            if not outcomes[position]:
                self._tally.count(EventType.SUPPRESSED, line.key.pool)
                continue
            self._tally.count(EventType.RECEIVED, line.key.pool)
            line.gained(acceptance.due_at(new))
            touched[line.id] = line
        if not touched:
            return
        if acceptance.body_file is None:
            self._contents.put(content_of(acceptance))
        for line in touched.values():
            self._on_queued(line)

    def _discard(self, acceptance: Acceptance) -> None:
        """Take away the parts of a submission that was not accepted.

        Best effort: what it does not reach is discarded at the next start.
        """
        statements = (
            DISCARD_DELIVERIES(message_id=acceptance.message),
            DISCARD_MESSAGE(message_id=acceptance.message),
            DISCARD_CONTENT(content_id=acceptance.content),
        )
        self._store.submit(
            bulk_unit(*statements, urgency=Urgency.BULK), lambda _result, _error: None
        )

    def _book_quota(self, submission: Submission) -> Booking | None:
        """Return what the credential's limits grant; ``None`` when it has none.

        Raises:
            NotAcceptedError: it is over one of them.
        """
        if self._quotas is None:
            return None
        now = submission.accepted_at
        found = self._quotas.book(
            submission.credential,
            len(submission.envelope.recipients),
            now=now,
            start=submission.not_before,
            end=submission.expires_at,
        )
        if not isinstance(found, Excess):
            return found
        text = found.reason.value
        if found.retry_at is None:
            raise NotAcceptedError(local_reply(552, "5.5.3", text, Phase.DOT))
        raise NotAcceptedError(
            local_reply(452, "4.7.1", text, Phase.DOT),
            (found.retry_at - now).total_seconds(),
        )

    def _acceptance(
        self,
        submission: Submission,
        message: MessageId,
        stored: tuple[str | None, int],
        booking: Booking | None,
    ) -> Acceptance:
        settings = self._settings
        lifetime = (
            settings.expires_bulk
            if submission.is_bulk
            else settings.expires_transactional
        )
        recipients = submission.envelope.recipients
        starts: Sequence[datetime | None] = [submission.not_before] * len(recipients)
        if booking is not None and booking.starts:
            starts = booking.starts
        last = max((each for each in starts if each is not None), default=None)
        start = submission.accepted_at
        if last is not None:
            start = max(start, last)
        return Acceptance(
            submission,
            message,
            self._next_id(),
            [
                self._new_delivery(submission, recipient, not_before)
                for recipient, not_before in zip(recipients, starts, strict=True)
            ],
            submission.expires_at or start + lifetime,
            *stored,
            self._store.node,
            self._store.epoch,
            booking,
        )

    def _new_delivery(
        self,
        submission: Submission,
        recipient: Recipient,
        not_before: datetime | None,
    ) -> NewDelivery:
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
        return NewDelivery(
            DeliveryId(self._next_id()),
            recipient,
            self._subject_of(recipient.address.canonical),
            self._book.line_for(key, submission.accepted_at),
            not_before,
        )

    async def _write_body(
        self, submission: Submission, message: MessageId
    ) -> tuple[str, int]:
        """Return the name of the file that holds the body, and the checksum."""

        def write() -> tuple[str, int]:
            header, body = submission.header, submission.body
            name = self._write_file(submission.accepted_at.date(), message, body)
            return name, checksum_of(header, body)

        try:
            return await asyncio.to_thread(write)
        except StoreFullError as error:
            raise NotAcceptedError(FULL) from error
        except StoreError as error:
            raise NotAcceptedError(TROUBLE) from error


def _accepted(acceptance: Acceptance, outcomes: Sequence[Sequence[Row]]) -> Accepted:
    at = acceptance.submission.accepted_at
    return Accepted(
        format_public(Kind.MESSAGE, at, acceptance.message),
        [
            AcceptedRecipient(
                format_public(Kind.DELIVERY, at, new.id),
                new.recipient.address.canonical,
                is_suppressed=not rows,
            )
            for new, rows in zip(acceptance.deliveries, outcomes, strict=True)
        ],
    )
