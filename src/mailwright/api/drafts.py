"""From a request's body to an offer for admission. Values in, values out; thread-safe.

Everything that is wrong with a body is told at once, each with the path of its field.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from mailwright.accounts.directory import Credential
from mailwright.address import Address, AddressError, parse_address
from mailwright.api.problems import (
    FieldError,
    Kind,
    ProblemError,
    field_errors,
    invalid,
)
from mailwright.api.schemas import AttachmentIn, MailboxIn, MessageIn
from mailwright.envelope import Envelope, Recipient
from mailwright.message import fields, from_mailbox, split
from mailwright.mta.admission import Offer
from mailwright.mta.compose.composing import base64_content, base64_lines, compose
from mailwright.mta.compose.spec import (
    Attachment,
    ComposeError,
    Mailbox,
    MessageSpec,
    defects_of,
)
from mailwright.mta.compose.spec import Defect as ComposeDefect
from mailwright.mta.control import Choices, defect_of, json_name, parse_instant

_ADAPTER: Final = TypeAdapter(MessageIn)
#: Stands where an address could not be read, while the other mistakes are looked for.
_NOBODY: Final = Address("nobody", "example.invalid")


@dataclass(frozen=True, slots=True)
class Occasion:
    """When and by whom something is submitted.

    Attributes:
        ident: unique: left side of a Message-ID, seed of boundaries, id in Received.
        hostname: of the node.
        max_recipients: of one message.
    """

    credential: Credential
    now: datetime
    ident: str
    hostname: str
    max_recipients: int

    @property
    def trace(self) -> tuple[bytes, ...]:
        """The Received field; it names no client, as the author asked for none."""
        date = format_datetime(self.now)
        text = (
            f"Received: by {self.hostname} with HTTP id {self.ident};\r\n\t{date}\r\n"
        )
        return (text.encode(),)


def message_of_json(body: bytes) -> MessageIn:
    """Return the message that a JSON body describes.

    Raises:
        ProblemError: it is no JSON, or fields are not right.
    """
    try:
        return _ADAPTER.validate_json(body)
    except ValidationError as error:
        errors = field_errors(error)
        if [found["type"] for found in error.errors()] == ["json_invalid"]:
            # Where it broke, without what stood there.
            raise ProblemError(Kind.MALFORMED, errors[0].message) from error
        raise ProblemError(Kind.INVALID, errors=errors) from error


def offer_of_message(given: MessageIn, occasion: Occasion) -> Offer:
    """Return the offer that ``given`` makes; its attachments are taken out of it.

    Blocking: some 0.3 ms for a small message; 50 ms for each MB.

    Raises:
        ProblemError: fields are not right.
    """
    return _Reading(occasion).offer(given)


def offer_of_octets(
    body: bytes, rcpt: Sequence[str], mail_from: str | None, occasion: Occasion
) -> Offer:
    """Return the offer that a whole message makes (``message/rfc822``).

    Args:
        body: the message; admission refuses what is not strict.
        rcpt: the recipients: who gets a message is never guessed from its fields.
        mail_from: the reverse-path; ``""`` is the null one, ``None`` the From mailbox.
        occasion: when and by whom.

    Raises:
        ProblemError: recipients or the reverse-path are not right.
    """
    reading = _Reading(occasion)
    header, content = split(body)
    recipients = [
        reading.address(text, f"rcpt[{place}]") for place, text in enumerate(rcpt)
    ]
    reverse_path: Address | None = None
    if mail_from:
        reverse_path = reading.address(mail_from, "mail_from")
    elif mail_from is None:
        author = from_mailbox(fields(header))
        # Without an author it is refused anyway, with the reason that says so.
        reverse_path = author if isinstance(author, Address) else None
    reading.count(recipients, "rcpt")
    reading.finish()
    envelope = _envelope(reverse_path, recipients, has_8bit=not content.isascii())
    return Offer(occasion.credential, envelope, header, content, occasion.trace)


class _Reading:
    """Reads one body and collects what is wrong with it.

    Every method gives a value to go on with, so that all mistakes are found at once.
    """

    def __init__(self, occasion: Occasion) -> None:
        self._occasion = occasion
        self._errors: list[FieldError] = []

    def offer(self, given: MessageIn) -> Offer:
        """Return the offer, or raise with everything that is wrong."""
        occasion = self._occasion
        spec = self._spec(given)
        bcc = self._mailboxes(given.bcc, "bcc")
        recipients = [mailbox.address for mailbox in (*spec.to, *spec.cc, *bcc)]
        self.count(recipients, "to")
        choices = self._choices(given)
        if self._errors:
            self.finish(defects_of(spec))
        author = spec.author.address
        try:
            composed = compose(
                spec,
                date=occasion.now,
                message_id=f"<{occasion.ident}@{author.domain}>",
                boundary_seed=occasion.ident.encode(),
            )
        except ComposeError as error:
            self.finish(error.defects)
            raise  # never: it had defects
        shown = (spec.author, *spec.reply_to)
        has_utf8 = any(mailbox.address.needs_utf8 for mailbox in shown)
        envelope = _envelope(author, recipients, has_utf8=has_utf8)
        header, body = composed
        return Offer(
            occasion.credential, envelope, header, body, occasion.trace, choices
        )

    def address(self, text: str, path: str) -> Address:
        """Return the canonical address, or note why there is none."""
        try:
            return parse_address(text)
        except AddressError as error:
            self._errors.append(FieldError(path, error.reason))
            return _NOBODY

    def count(self, recipients: Sequence[Address], path: str) -> None:
        """Note that there are too few or too many recipients."""
        limit = self._occasion.max_recipients
        if not recipients:
            self._errors.append(FieldError(path, "a recipient is needed"))
        elif len(recipients) > limit:
            self._errors.append(FieldError(path, f"more than {limit} recipients"))

    def finish(self, defects: Iterable[ComposeDefect] = ()) -> None:
        """Raise what was noted, with ``defects`` of the composing."""
        errors = [
            *self._errors,
            *(FieldError(defect.field, defect.reason) for defect in defects),
        ]
        if errors:
            raise invalid(*errors)

    def _spec(self, given: MessageIn) -> MessageSpec:
        return MessageSpec(
            self._mailbox(given.author, "from"),
            given.subject,
            given.text,
            given.html,
            self._mailboxes(given.to, "to"),
            self._mailboxes(given.cc, "cc"),
            self._mailboxes(given.reply_to, "reply_to"),
            tuple(self._attachments(given.attachments)),
            tuple(given.headers.items()),
        )

    def _mailbox(self, given: MailboxIn, path: str) -> Mailbox:
        return Mailbox(self.address(given.address, f"{path}.address"), given.name)

    def _mailboxes(self, given: Sequence[MailboxIn], path: str) -> tuple[Mailbox, ...]:
        return tuple(
            self._mailbox(each, f"{path}[{place}]") for place, each in enumerate(given)
        )

    def _attachments(self, given: list[AttachmentIn]) -> Iterator[Attachment]:
        """Yield what is ``given``, and take it out: a large one is not kept twice."""
        given.reverse()
        place = 0
        while given:
            yield _encoded(self._attachment(given.pop(), f"attachments[{place}]"))
            place += 1

    def _attachment(self, given: AttachmentIn, path: str) -> Attachment:
        content = b""
        try:
            content = base64_content(given.content)
        except ValueError:
            self._errors.append(FieldError(f"{path}.content", "is not base64"))
        return Attachment(given.filename, given.content_type, content, given.content_id)

    def _choices(self, given: MessageIn) -> Choices:
        choices = Choices(
            stream=given.stream,
            tags=tuple(given.tags),
            metadata=given.metadata,
            not_before=self._instant(given.send_at, "send_at"),
            expires_at=self._instant(given.expires_at, "expires_at"),
        )
        defect = defect_of(choices, now=self._occasion.now)
        if defect is not None:
            self._errors.append(FieldError(json_name(defect.choice), defect.reason))
        return choices

    def _instant(self, text: str | None, path: str) -> datetime | None:
        if text is None:
            return None
        try:
            return parse_instant(text)
        except ValueError as error:
            self._errors.append(FieldError(path, str(error)))
            return None


def _encoded(attachment: Attachment) -> Attachment:
    """Return it as it goes into the message, and not as it is."""
    return replace(attachment, content=b"", encoded=base64_lines(attachment.content))


def _envelope(
    reverse_path: Address | None,
    recipients: Iterable[Address],
    *,
    has_8bit: bool = False,
    has_utf8: bool = False,
) -> Envelope:
    """Return the envelope; who is named twice gets one copy."""
    once = dict.fromkeys(recipients)
    named = [*once, *((reverse_path,) if reverse_path else ())]
    return Envelope(
        reverse_path,
        tuple(Recipient(address) for address in once),
        has_8bit=has_8bit,
        has_utf8=has_utf8 or any(address.needs_utf8 for address in named),
    )
