"""What a message is made from, and what is wrong with it.

Fields are named as the HTTP API names them, so that a defect can be handed to its
author as it is: ``to[3].name``, ``headers.X-Order``, ``attachments[0].filename``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailwright.address import Address
from mailwright.errors import MailwrightError
from mailwright.mta.compose.words import MAX_WORD_OCTETS, has_controls, is_plain

MAX_SUBJECT_CHARS: Final = 2000
MAX_NAME_CHARS: Final = 256
MAX_FILENAME_CHARS: Final = 255
MAX_HEADERS: Final = 50
MAX_HEADER_CHARS: Final = 4096
MAX_ATTACHMENTS: Final = 100

#: RFC 5322 §3.6.8 allows more; what the field uses is letters, digits and hyphens.
_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
#: Fields that decide who wrote, who gets, how it is read, or who vouches for it.
_STRUCTURAL: Final = frozenset(
    (
        *(
            "apparently-to",
            "bcc",
            "cc",
            "delivered-to",
            "from",
            "reply-to",
            "sender",
            "to",
        ),
        *("authentication-results", "dkim-signature", "domainkey-signature"),
        *("date", "message-id", "mime-version", "received", "received-spf"),
        *("return-path", "return-receipt-to", "subject", "x-sender"),
    )
)
_STRUCTURAL_PREFIXES: Final = ("arc-", "content-", "resent-", "x-mailwright-")
_MIME_NAME: Final = r"[A-Za-z0-9!#$&^_.+-]{1,80}"
_MIME_VALUE: Final = rf"{_MIME_NAME}|\"[ !#-\[\]-~]{{0,80}}\""
_CONTENT_TYPE: Final = re.compile(
    rf"({_MIME_NAME})/({_MIME_NAME})(; ?{_MIME_NAME}=({_MIME_VALUE})){{0,4}}"
)
_CONTENT_ID: Final = re.compile(
    r"[A-Za-z0-9!#$%&*+/=^_{|}~.-]{1,100}(@[A-Za-z0-9.-]{1,100})?"
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name that people see; ``""`` for none."""

    address: Address
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a message.

    Attributes:
        content_type: ``type/subtype`` with parameters, neither multipart nor message.
        content: as it is, not encoded; not needed beside ``encoded``.
        content_id: without angle brackets; a part with one is shown inline, where the
            HTML says ``cid:…``. ``""`` for an ordinary attachment.
        encoded: ``content`` as base64 lines, for who has many messages to make of it;
            empty: it is encoded each time (10 ms for a MB).
    """

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""
    encoded: bytes = b""


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """What a message says. Recipients without a field (bcc) are not part of it.

    Attributes:
        author: the From mailbox.
        text: plain text, or ``None``; any line ends.
        html: or ``None``; at least one of the two is needed.
        headers: further fields (name, value), in this order.
    """

    author: Mailbox
    subject: str
    text: str | None = None
    html: str | None = None
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with one field of a spec.

    Attributes:
        field: its path in the HTTP API's words.
        reason: a short text without any part of the input.
    """

    field: str
    reason: str


class ComposeError(MailwrightError):
    """The values cannot be made a message; ``defects`` says which and why."""

    def __init__(self, defects: tuple[Defect, ...]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.reason}" for each in defects))
        self.defects = defects


def defects_of(spec: MessageSpec) -> tuple[Defect, ...]:
    """Return everything that keeps ``spec`` from being a message; empty when it is one."""
    return (
        *_mailbox_defects(spec),
        *_text_defects(spec),
        *_header_defects(spec.headers),
        *_attachment_defects(spec.attachments),
    )


def _mailbox_defects(spec: MessageSpec) -> Iterator[Defect]:
    groups = (
        ("from", (spec.author,)),
        ("to", spec.to),
        ("cc", spec.cc),
        ("reply_to", spec.reply_to),
    )
    for field, mailboxes in groups:
        for place, mailbox in enumerate(mailboxes):
            path = field if field == "from" else f"{field}[{place}]"
            if "=?" in mailbox.address.local_part:
                # Some readers would decode it and see another address.
                yield Defect(f"{path}.address", "looks like an encoded word")
            if len(mailbox.name) > MAX_NAME_CHARS:
                yield Defect(f"{path}.name", f"over {MAX_NAME_CHARS} characters")
            if has_controls(mailbox.name):
                yield Defect(f"{path}.name", _CONTROL_REASON)


_CONTROL_REASON: Final = "has a control character, a line separator or a lone surrogate"


def _text_defects(spec: MessageSpec) -> Iterator[Defect]:
    if len(spec.subject) > MAX_SUBJECT_CHARS:
        yield Defect("subject", f"over {MAX_SUBJECT_CHARS} characters")
    if has_controls(spec.subject):
        yield Defect("subject", _CONTROL_REASON)
    if spec.text is None and spec.html is None:
        yield Defect("text", "text or html is needed")
    for field, text in (("text", spec.text), ("html", spec.html)):
        if text is not None and not _is_storable(text):
            yield Defect(field, "has a NUL or a lone surrogate")


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _header_defects(headers: tuple[tuple[str, str], ...]) -> Iterator[Defect]:
    if len(headers) > MAX_HEADERS:
        yield Defect("headers", f"more than {MAX_HEADERS}")
        return
    seen: set[str] = set()
    for name, value in headers:
        key = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            yield Defect("headers", "a name has letters, digits and hyphens only")
            continue
        path = f"headers.{name}"
        if key in _STRUCTURAL or key.startswith(_STRUCTURAL_PREFIXES):
            yield Defect(path, "this field is not for headers; it has its own place")
        elif key in seen:
            yield Defect(path, "given twice")
        elif len(value) > MAX_HEADER_CHARS:
            yield Defect(path, f"over {MAX_HEADER_CHARS} characters")
        elif has_controls(value):
            yield Defect(path, _CONTROL_REASON)
        elif is_plain(value) and _longest_word(value) > MAX_WORD_OCTETS:
            yield Defect(path, f"over {MAX_WORD_OCTETS} characters without a blank")
        seen.add(key)


def _longest_word(value: str) -> int:
    return max(map(len, value.split(" ")), default=0)


def _attachment_defects(attachments: tuple[Attachment, ...]) -> Iterator[Defect]:
    if len(attachments) > MAX_ATTACHMENTS:
        yield Defect("attachments", f"more than {MAX_ATTACHMENTS}")
        return
    seen: set[str] = set()
    for place, part in enumerate(attachments):
        path = f"attachments[{place}]"
        name = part.filename
        if not 0 < len(name) <= MAX_FILENAME_CHARS or has_controls(name):
            yield Defect(
                f"{path}.filename",
                f"needs 1 to {MAX_FILENAME_CHARS} characters, none of them a control",
            )
        elif name != name.strip():
            yield Defect(f"{path}.filename", "begins or ends with a blank")
        elif "/" in name or "\\" in name:
            yield Defect(f"{path}.filename", "is a name, not a path")
        match = _CONTENT_TYPE.fullmatch(part.content_type)
        if match is None:
            yield Defect(f"{path}.content_type", "is not type/subtype")
        elif match[1].lower() in ("multipart", "message"):
            # RFC 2046 §5: neither may be base64; as a file it is octets.
            yield Defect(f"{path}.content_type", "use application/octet-stream")
        if part.content_id and not _CONTENT_ID.fullmatch(part.content_id):
            yield Defect(f"{path}.content_id", "is not a content id")
        elif part.content_id in seen:
            yield Defect(f"{path}.content_id", "given twice")
        elif part.content_id:
            seen.add(part.content_id)
