"""What the door says, as octets for the wire."""

import re
from typing import Final

from mailwright.mta.submission.login import MECHANISMS
from mailwright.mta.submission.settings import DoorSettings
from mailwright.reply import Phase, Reply, local_reply

_MAX_TEXT_CHARS: Final = 400  # RFC 5321 §4.5.3.1.5: 512 octets a line
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")


def to_wire(reply: Reply) -> bytes:
    """Return ``reply`` as one line with CRLF; what is not printable ASCII becomes ``?``."""
    text = _UNPRINTABLE.sub("?", reply.text)[:_MAX_TEXT_CHARS]
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    return f"{reply.code} {enhanced}{text}\r\n".encode("ascii")


def greeting(hostname: str) -> bytes:
    """Return the banner."""
    return f"220 {hostname} ESMTP mailwright\r\n".encode("ascii")


def ehlo_answer(settings: DoorSettings, *, is_secure: bool) -> bytes:
    """Return the answer to EHLO, all lines."""
    lines = [
        settings.hostname,
        f"SIZE {settings.max_message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "DSN",
    ]
    if settings.tls is not None and not is_secure:
        lines.append("STARTTLS")
    if settings.offers_auth(is_secure=is_secure):
        lines.append("AUTH " + " ".join(MECHANISMS))
    marks = ["-"] * (len(lines) - 1) + [" "]
    return b"".join(
        f"250{mark}{line}\r\n".encode("ascii")
        for mark, line in zip(marks, lines, strict=True)
    )


def helo_answer(hostname: str) -> bytes:
    """Return the answer to HELO."""
    return f"250 {hostname}\r\n".encode("ascii")


GO_AHEAD: Final = b"354 end with <CRLF>.<CRLF>\r\n"
READY_FOR_TLS: Final = b"220 2.0.0 ready for TLS\r\n"
STOPPING: Final = b"421 4.3.2 this server is stopping, try again soon\r\n"
IDLE: Final = b"421 4.4.2 timeout, closing\r\n"
BUSY: Final = b"421 4.7.0 too many connections, try again later\r\n"
NO_MEMORY: Final = local_reply(
    452, "4.3.1", "too much mail at once, try again later", Phase.DOT
)
NO_STORAGE: Final = local_reply(452, "4.3.1", "insufficient system storage", Phase.DOT)
STORAGE_FAILED: Final = local_reply(
    451, "4.3.0", "temporary failure, try again later", Phase.DOT
)
BYE: Final = b"221 2.0.0 bye\r\n"
NOT_SMTP: Final = b"421 4.7.0 this is SMTP\r\n"
TOO_MANY_COMMANDS: Final = b"421 4.7.0 too many commands\r\n"
TOO_MANY_ERRORS: Final = b"421 4.7.0 too many errors\r\n"
TOO_MANY_LOGINS: Final = b"421 4.7.0 too many failed logins\r\n"
TOO_MANY_RECIPIENTS: Final = b"452 4.5.3 too many recipients\r\n"
NEEDS_UTF8: Final = b"553 5.6.7 the sender was given without SMTPUTF8\r\n"
OUT_OF_ORDER: Final = local_reply(503, "5.5.1", "bad sequence of commands", Phase.EHLO)
NO_EXPN: Final = local_reply(502, "5.5.1", "not offered", Phase.EHLO)
NO_TLS: Final = local_reply(503, "5.5.1", "STARTTLS is not offered", Phase.TLS)
NO_AUTH: Final = local_reply(503, "5.5.1", "AUTH is not offered", Phase.AUTH)
LOGGED_IN_ALREADY: Final = local_reply(
    503, "5.5.1", "already authenticated", Phase.AUTH
)
AUTH_NEEDS_TLS: Final = local_reply(538, "5.7.11", "start TLS first", Phase.AUTH)
AUTH_FIRST: Final = local_reply(530, "5.7.0", "authentication required", Phase.MAIL)
TLS_FIRST: Final = local_reply(
    530, "5.7.0", "start TLS first, then authenticate", Phase.MAIL
)
NOT_OPEN: Final = local_reply(
    550, "5.7.1", "this listener is not open to your address", Phase.MAIL
)
NO_SCOPE: Final = local_reply(
    550, "5.7.1", "this credential may not submit mail", Phase.MAIL
)
TOO_BIG: Final = local_reply(
    552, "5.3.4", "message over the size that SIZE names", Phase.MAIL
)
