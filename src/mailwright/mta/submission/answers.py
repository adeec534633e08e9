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
