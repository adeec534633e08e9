"""Delivery status notifications as octets: a report's facts in, a message out.

Three parts: a text for people, the fields for programs, and the header of the message
that it is about (or all of the message, if that was asked for and it is short). The
header comes back octet for octet: CRMs look in it for their own ids.

Promises: total, whatever a receiver or a submitter wrote; strict CRLF lines; the same
arguments give the same octets. Does not decide whether a report is due, whom it goes to
or when it leaves.

Standards: RFC 3464 (fields), RFC 6522 (multipart/report), RFC 3461 §6 (what is
returned), RFC 6533 (addresses and headers beyond ASCII), RFC 3463 (status codes),
RFC 3834 §5 (Auto-Submitted).
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import format_datetime
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple

from mailwright.bounce.dsn_text import SUBJECTS, clean, explain, folded
from mailwright.message import fields, find, unfold
from mailwright.reply import Origin
from mailwright.report import Action, Cause, LastAttempt, Report

_CRLF: Final = "\r\n"
_MAX_LINE_CHARS: Final = 78  # RFC 5322 §2.1.1
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_MESSAGE_ID: Final = re.compile(rb"<[!-;=?-~]{1,250}>")
#: RFC 6533 §3: a character of a UTF-8 address, written in ASCII.
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
#: RFC 3463 §3 for failures that no reply explains.
_STATUS_OF: Final = {
    Cause.EXPIRED: "4.4.7",  # delivery time expired
    Cause.LOST: "4.4.2",  # bad connection
    Cause.SUPPRESSED: "5.7.1",  # delivery not authorised
}


class _Part(NamedTuple):
    """A part: its media type with parameters, and its body, which ends in CRLF."""

    content_type: str
    body: bytes

    def to_wire(self) -> bytes:
        head = f"Content-Type: {self.content_type}{_CRLF}"
        if not self.body.isascii():
            head += f"Content-Transfer-Encoding: 8bit{_CRLF}"
        return b"%b\r\n%b" % (head.encode(), self.body)


def compose(
    report: Report, *, reporting_mta: str, domain: str, message_id: str, at: datetime
) -> tuple[bytes, bytes]:
    """Return a DSN: header section with its final empty line, and body.

    Args:
        report: what it says.
        reporting_mta: name of this node, which is its host name.
        domain: of its author, ``mailer-daemon``: one that it can be signed for.
        message_id: value of its Message-ID field, with angle brackets.
        at: value of its Date field; aware.

    Cost: some 50 µs and the octets that are returned.
    """
    text = _CRLF.join(explain(report, reporting_mta)) + _CRLF
    charset = "us-ascii" if text.isascii() else "utf-8"
    parts = [
        _Part(f"text/plain; charset={charset}", text.encode()),
        _status_part(report, reporting_mta),
        *_returned(report),
    ]
    pieces = [part.to_wire() for part in parts]
    boundary = _boundary(message_id, pieces)
    delimiter = f"--{boundary}\r\n".encode()
    body = b"\r\n".join(delimiter + piece for piece in pieces)
    body += f"\r\n--{boundary}--\r\n".encode()
    header = _CRLF.join(
        (
            f"From: Mail Delivery System <mailer-daemon@{domain}>",
            f"To: <{clean(report.reverse_path)}>",
            f"Subject: {SUBJECTS[report.action]}",
            f"Date: {format_datetime(at)}",
            f"Message-ID: {message_id}",
            *_thread(report.header),
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            "Content-Type: multipart/report; report-type=delivery-status;",
            f'\tboundary="{boundary}"',
            # RFC 2045 §6.4: no part may need more than the whole declares.
            *(() if body.isascii() else ("Content-Transfer-Encoding: 8bit",)),
            _CRLF,
        )
    )
    return header.encode(), body


def status_of(report: Report) -> str:
    """Return the status code (RFC 3463): the receiver's own, if it fits the action."""
    if report.cause in _STATUS_OF:
        return _STATUS_OF[report.cause]
    allowed = {Action.FAILED: "45", Action.DELAYED: "4", Action.RELAYED: "2"}
    classes = allowed[report.action]
    if report.last is not None:
        reply = report.last.reply
        if _STATUS.fullmatch(reply.enhanced) and reply.enhanced[0] in classes:
            return reply.enhanced
        if str(reply.code)[0] in classes:
            return f"{str(reply.code)[0]}.0.0"
    return f"{classes[-1]}.0.0"


def _status_part(report: Report, reporting_mta: str) -> _Part:
    """Return the part for programs: fields of the message, then of the recipient.

    With an ASCII recipient everything in it is ASCII, so that old readers can read it.
    """
    is_global = not report.recipient.isascii()
    groups = (
        _message_fields(report, reporting_mta),
        _recipient_fields(report, is_global=is_global),
    )
    text = _CRLF.join(
        "".join(_field(name, value) for name, value in group) for group in groups
    )
    if is_global:
        return _Part("message/global-delivery-status", text.encode())
    return _Part("message/delivery-status", text.encode("ascii", "replace"))


def _message_fields(report: Report, reporting_mta: str) -> Iterator[tuple[str, str]]:
    if report.envid:
        yield "Original-Envelope-Id", report.envid  # RFC 3461 §6.3 (a)
    yield "Reporting-MTA", f"dns; {reporting_mta}"
    yield "Arrival-Date", format_datetime(report.arrived_at)


def _recipient_fields(report: Report, *, is_global: bool) -> Iterator[tuple[str, str]]:
    """Yield the fields of RFC 3464 §2.3, in its order."""
    if report.orcpt:
        # RFC 6533 §3: in its own form where that can be said.
        orcpt = _unembedded(report.orcpt) if is_global else report.orcpt
        yield "Original-Recipient", orcpt
    address_type = "utf-8" if is_global else "rfc822"
    yield "Final-Recipient", f"{address_type}; {report.recipient}"
    yield "Action", report.action.value
    yield "Status", status_of(report)
    last = report.last
    if last is not None:
        yield from _attempt_fields(last)
    yield "Final-Log-ID", report.delivery
    if report.retry_until is not None:
        yield "Will-Retry-Until", format_datetime(report.retry_until)


def _attempt_fields(last: LastAttempt) -> Iterator[tuple[str, str]]:
    is_remote = last.reply.origin is Origin.REMOTE
    if is_remote and last.hop:
        yield "Remote-MTA", f"dns; {last.hop.partition(' ')[0]}"
    # "smtp" is for what a server really said (RFC 3464 §9.2).
    diagnostic_type = "smtp" if is_remote else "x-mailwright"
    yield "Diagnostic-Code", f"{diagnostic_type}; {last.reply}"
    yield "Last-Attempt-Date", format_datetime(last.at)


def _unembedded(orcpt: str) -> str:
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return orcpt

    def character(match: re.Match[str]) -> str:
        point = int(match[1], 16)
        char = chr(point) if point <= 0x10FFFF else ""
        # What an address may hold; anything else stays as it was written.
        return char if char.isprintable() and char not in "\\ " else match[0]

    return f"{kind};{_EMBEDDED.sub(character, address)}"


def _returned(report: Report) -> Iterable[_Part]:
    """Return the part with the message, or with its header; none if that is gone."""
    if not report.header:
        return ()
    is_global = _is_utf8_beyond_ascii(report.header)
    if report.body is not None:
        kind = "message/global" if is_global else "message/rfc822"
        end = b"" if report.body.endswith(b"\r\n") or not report.body else b"\r\n"
        return (_Part(kind, report.header + report.body + end),)
    kind = "message/global-headers" if is_global else "text/rfc822-headers"
    # The fields without the empty line that ends them (RFC 6522 §4).
    return (_Part(kind, report.header.removesuffix(b"\r\n")),)


def _is_utf8_beyond_ascii(header: bytes) -> bool:
    if header.isascii():
        return False
    try:
        header.decode()
    except UnicodeDecodeError:
        return False  # no standard says what it is; it goes back as it came
    return True


def _thread(header: bytes) -> Iterator[str]:
    """Yield the fields that tie the report to the message (RFC 3834 §3.1.5)."""
    found = find(fields(header), b"message-id")
    if len(found) != 1:
        return
    value = unfold(found[0].value)
    if _MESSAGE_ID.fullmatch(value):
        yield f"In-Reply-To: {value.decode()}"
        yield f"References: {value.decode()}"


def _field(name: str, value: str) -> str:
    """Return a field with its CRLF, folded where a line would be long."""
    lines = folded(clean(f"{name}: {value}"), _MAX_LINE_CHARS)
    return _CRLF.join(lines) + _CRLF


def _boundary(seed: str, pieces: Iterable[bytes]) -> str:
    """Return a boundary that no part contains; a function of ``seed``."""
    for number in count():
        digest = blake2b(seed.encode(), salt=number.to_bytes(8), digest_size=15)
        # "=_" is in no quoted-printable and no base64 (RFC 2045 §6.7).
        boundary = f"=_{digest.hexdigest()}"
        if not any(boundary.encode() in piece for piece in pieces):
            return boundary
    raise AssertionError("unreachable")
