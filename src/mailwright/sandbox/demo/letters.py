"""★ The demo's messages as octets and as JSON, and what has to arrive of them. Pure.

The octets come from Python's ``email`` package, as those of many CRMs do; it shares no
code with what the node does to a message.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_string
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from quopri import decodestring
from typing import Any, Final

from mailwright.sandbox.demo.content import Content, File
from mailwright.sandbox.demo.plan import Draft, Kind, Person

#: After which mail that must expire is given up.
EXPIRES_AFTER: Final = timedelta(seconds=10)
_POLICY: Final = SMTP.clone(max_line_length=76)
_UTF8_POLICY: Final = _POLICY.clone(utf8=True)
#: All that the node puts before the fields of a message.
_PREPENDED: Final = re.compile(
    rb"(?:(?:DKIM-Signature|Received|Date|Message-ID):[^\r]*+(?:\r\n[ \t][^\r]*+)*\r\n)*"
)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """The copy ends with exactly these octets; before them, fields were prepended."""

    octets: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reencoded:
    """The body is this, as quoted-printable."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Composed:
    """The node composed it; whoever reads it finds this in it."""

    content: Content


Expected = Verbatim | Reencoded | Composed


@dataclass(frozen=True, slots=True)
class Octets:
    """A message to submit.

    Attributes:
        message_id: that it names itself; ``""`` for none.
        submitted: with fields that the node removes.
        expected: what arrives.
        is_utf8: its header has addresses beyond ASCII.
    """

    message_id: str
    submitted: bytes
    expected: Expected
    is_utf8: bool


def octets_of(draft: Draft, content: Content, *, now: datetime) -> Octets:
    """Return ``draft`` as a CRM would submit it over SMTP."""
    is_utf8 = any(not local_part_of(each).isascii() for each in draft.recipients)
    message_id = ""
    if draft.kind is Kind.BARE:
        text = content.text.replace("\n", "\r\n")
        kept = f"From: <{content.author}>\r\n\r\n{text}".encode()
    else:
        message_id = (
            f"<{draft.number:06}.{draft.kind.name.lower()}@{content.author_domain}>"
        )
        policy = _UTF8_POLICY if is_utf8 else _POLICY
        kept = _email(draft, content, message_id, now, policy).as_bytes()
    removed = "".join(
        f"{name}: {value}\r\n" for name, value in _removed_fields(draft, now)
    )
    expected: Expected = Verbatim(len(kept), _digest(kept))
    if draft.kind is Kind.LONG_LINES:
        expected = Reencoded(_digest(kept.partition(b"\r\n\r\n")[2]))
    return Octets(message_id, removed.encode() + kept, expected, is_utf8)


def json_of(draft: Draft, content: Content, *, now: datetime) -> Mapping[str, Any]:
    """Return ``draft`` as the body of a create over HTTP."""
    body: dict[str, Any] = {
        "from": {"address": content.author, "name": content.author_name},
        "to": [_mailbox(each) for each in draft.to],
        "cc": [_mailbox(each) for each in draft.cc],
        "bcc": [_mailbox(each) for each in draft.bcc],
        "subject": content.subject,
        "text": content.text,
        "headers": dict(content.headers),
        "tags": ["demo", draft.kind.name.lower()],
        "metadata": {"draft": str(draft.number)},
        "attachments": [_attachment(each) for each in content.files],
    }
    if content.html:
        body["html"] = content.html
    if draft.expires_soon:
        body["expires_at"] = (now + EXPIRES_AFTER).isoformat()
    return body


def alteration_of(copy: bytes, expected: Expected) -> str:
    """Return what is not as it should be in a received ``copy``; ``""``: nothing.

    Cost: a hash; for :class:`Composed` a whole parse, about a millisecond.
    """
    match expected:
        case Verbatim():
            head, tail = copy[: -expected.octets], copy[-expected.octets :]
            if _digest(tail) != expected.digest:
                return "octets differ from what was submitted"
            return "" if _PREPENDED.fullmatch(head) else "unknown fields were added"
        case Reencoded():
            body = decodestring(copy.partition(b"\r\n\r\n")[2])
            return "" if _digest(body) == expected.digest else "the text differs"
        case Composed():
            return _difference(copy, expected.content)


def local_part_of(person: Person) -> str:
    """Return what stands before the ``@``."""
    return person.address.rpartition("@")[0]


def _email(
    draft: Draft,
    content: Content,
    message_id: str,
    now: datetime,
    policy: "EmailPolicy[EmailMessage]",
) -> EmailMessage:
    message = EmailMessage(policy)
    message["From"] = _address(content.author_name, content.author)
    for name, people in (("To", draft.to), ("Cc", draft.cc)):
        if people:
            message[name] = [_address(each.name, each.canonical) for each in people]
    message["Subject"] = content.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    for name, value in content.headers:
        message[name] = value
    message.set_content(content.text, charset=content.charset, cte=content.encoding)
    if content.html:
        message.add_alternative(content.html, subtype="html", cte="quoted-printable")
    for file in content.files:
        _attach(message, file)
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            # The package would draw boundaries by chance.
            part.set_boundary(f"=_{draft.number}_{number}_demo")
    return message


def _attach(message: EmailMessage, file: File) -> None:
    main, _, sub = file.content_type.partition("/")
    if file.content_id:
        payload = message.get_payload()
        html = payload[-1] if isinstance(payload, list) else None
        if isinstance(html, EmailMessage):
            html.add_related(
                file.content, main, sub, cid=f"<{file.content_id}>", filename=file.name
            )
            return
    message.add_attachment(file.content, main, sub, filename=file.name)


def _address(name: str, address: str) -> Address:
    local_part, _, domain = address.rpartition("@")
    return Address(name, local_part, domain)


def _removed_fields(draft: Draft, now: datetime) -> Sequence[tuple[str, str]]:
    fields = []
    if draft.bcc:
        hidden = [each.canonical for each in draft.bcc]
        fields.append(("Bcc", ", ".join(hidden)))
    if draft.expires_soon:
        at = (now + EXPIRES_AFTER).isoformat()
        fields.append(("X-Mailwright-Expires-At", at))
    if draft.number % 2:
        fields.append(("X-Mailwright-Tags", f"demo, {draft.kind.name.lower()}"))
    return fields


def _mailbox(person: Person) -> Mapping[str, str]:
    return {"address": person.address, "name": person.name}


def _attachment(file: File) -> Mapping[str, str]:
    found = {
        "filename": file.name,
        "content_type": file.content_type,
        "content": b64encode(file.content).decode(),
    }
    if file.content_id:
        found["content_id"] = file.content_id
    return found


def _difference(copy: bytes, content: Content) -> str:
    # The package's old interface: the new one parses a field each time it is looked at.
    # As text, for the sake of addresses beyond ASCII; the node composes ASCII bodies.
    message = message_from_string(copy.decode("utf-8", "replace"))
    author_name, author = parseaddr(message["From"])
    if (_decoded(author_name), author) != (content.author_name, content.author):
        return "the author differs"
    for name, value in (("Subject", content.subject), *content.headers):
        if _decoded(message[name] or "") != value:
            return f"the field {name} differs"
    texts: dict[str, bytes] = {}
    files: dict[str, bytes] = {}
    for part in message.walk():
        octets = part.get_payload(decode=True)
        if isinstance(octets, bytes):
            filename = part.get_filename()
            if filename:
                files[filename] = octets
            else:
                texts[part.get_content_type()] = octets
    wanted = {"text/plain": _wire(content.text)}
    if content.html:
        wanted["text/html"] = _wire(content.html)
    if texts != wanted:
        return "the text differs"
    if files != {file.name: file.content for file in content.files}:
        return "a file differs"
    return ""


def _decoded(value: str) -> str:
    """Return an unfolded field's text with its encoded words decoded (RFC 2047)."""
    return str(make_header(decode_header("".join(value.splitlines()))))


def _wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def _digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()
