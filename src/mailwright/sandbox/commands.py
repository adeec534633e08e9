"""★ What a receiver of the sandbox understands, and what it says. Pure.

Standards: RFC 5321 §4.1.1 (commands), §4.1.2 (paths); RFC 1870, 6152, 6531, 3461
(parameters); RFC 3463 (enhanced codes).
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_MESSAGE_OCTETS: Final = 35_882_577  # what a big provider announces
MAX_LINE_OCTETS: Final = 4096

OK: Final = b"250 2.0.0 Ok\r\n"
MAIL_OK: Final = b"250 2.1.0 Ok\r\n"
RCPT_OK: Final = b"250 2.1.5 Ok\r\n"
GO_AHEAD: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
READY_FOR_TLS: Final = b"220 2.0.0 Ready to start TLS\r\n"
NO_TLS: Final = b"454 4.7.0 TLS not available\r\n"
UNKNOWN: Final = b"500 5.5.1 Command unrecognized\r\n"
SYNTAX: Final = b"501 5.5.4 Syntax error\r\n"
BAD_SEQUENCE: Final = b"503 5.5.1 Bad sequence of commands\r\n"
NO_RECIPIENTS: Final = b"554 5.5.1 No valid recipients\r\n"
TOO_MANY: Final = b"452 4.5.3 Too many recipients\r\n"
TOO_BIG: Final = b"552 5.3.4 Message too big\r\n"
BAD_PARAMETER: Final = b"555 5.5.4 Unsupported parameter\r\n"
NEEDS_UTF8: Final = b"553 5.6.7 Address needs SMTPUTF8\r\n"
BAD_LINE_END: Final = b"554 5.6.0 Bare CR, LF or NUL refused\r\n"
LINE_TOO_LONG: Final = b"500 5.5.2 Line too long\r\n"

_PATH: Final = re.compile(
    rb"(?P<verb>MAIL FROM|RCPT TO):<(?P<path>[^<>\x00-\x1f\x7f]*)>"
    rb"(?P<parameters>(?: [!-~]+)*)",
    re.IGNORECASE,
)
_MAIL_KEYWORDS: Final = frozenset((b"BODY", b"SIZE", b"SMTPUTF8", b"RET", b"ENVID"))
_RCPT_KEYWORDS: Final = frozenset((b"NOTIFY", b"ORCPT"))


@dataclass(frozen=True, slots=True)
class Mail:
    """A valid MAIL command."""

    reverse_path: str
    is_utf8: bool
    is_8bit: bool


@dataclass(frozen=True, slots=True)
class Rcpt:
    """A valid RCPT command; the domain is in lower case."""

    local_part: str
    domain: str


def parse_mail(line: bytes) -> Mail | bytes:
    """Return what ``line`` (without CRLF) says, or the reply to a bad one."""
    found = _PATH.fullmatch(line)
    if found is None or found["verb"].upper() != b"MAIL FROM":
        return SYNTAX
    words = found["parameters"].upper().split()
    if not {word.partition(b"=")[0] for word in words} <= _MAIL_KEYWORDS:
        return BAD_PARAMETER
    size = next((word[5:] for word in words if word.startswith(b"SIZE=")), b"0")
    if not size.isdigit() or len(size) > 20:  # RFC 1870 §4
        return SYNTAX
    if int(size) > MAX_MESSAGE_OCTETS:
        return TOO_BIG
    is_utf8 = b"SMTPUTF8" in words
    if not found["path"].isascii() and not is_utf8:
        return NEEDS_UTF8
    reverse_path = found["path"].decode("utf-8", "replace")
    return Mail(reverse_path, is_utf8, b"BODY=8BITMIME" in words)


def parse_rcpt(line: bytes, *, is_utf8: bool) -> Rcpt | bytes:
    """Return what ``line`` (without CRLF) says, or the reply to a bad one."""
    found = _PATH.fullmatch(line)
    if found is None or found["verb"].upper() != b"RCPT TO":
        return SYNTAX
    words = found["parameters"].upper().split()
    if not {word.partition(b"=")[0] for word in words} <= _RCPT_KEYWORDS:
        return BAD_PARAMETER
    if not found["path"].isascii() and not is_utf8:
        return NEEDS_UTF8
    local_part, at, domain = found["path"].decode("utf-8", "replace").rpartition("@")
    if not at:
        return SYNTAX
    return Rcpt(local_part, domain.lower())


def ehlo_reply(name: str, *, offers_tls: bool) -> bytes:
    """Return the reply to EHLO of the receiver ``name``."""
    lines = [
        name,
        "PIPELINING",
        f"SIZE {MAX_MESSAGE_OCTETS}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
    ]
    if offers_tls:
        lines.append("STARTTLS")
    reply = "".join(f"250-{text}\r\n" for text in lines[:-1])
    return f"{reply}250 {lines[-1]}\r\n".encode()


def has_bare_line_end(content: bytes) -> bool:
    """Return whether a CR or LF stands alone in ``content`` (RFC 5321 §2.3.8)."""
    lines = content.count(b"\r\n")
    return content.count(b"\n") != lines or content.count(b"\r") != lines
