"""The trace field that the door puts on top of a message (RFC 5321 §4.4)."""

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from mailwright.mta.submission.ports import PeerIp

# What a client calls itself is its own choice: only what a domain or a literal may hold
# goes into a header.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_MAX_NAME_CHARS: Final = 128


def received_field(
    *,
    ehlo_name: str,
    peer: PeerIp,
    hostname: str,
    protocol: str,
    session_id: str,
    now: datetime,
) -> bytes:
    """Return a complete ``Received`` field with its CRLF.

    Args:
        ehlo_name: as the client gave it; made safe here.
        peer: its address.
        hostname: of this node.
        protocol: ``SMTP``, ``ESMTP``, ``ESMTPSA`` … (RFC 3848, RFC 6531 §3.7.3).
        session_id: an atom.
        now: aware.
    """
    name = _UNSAFE.sub("?", ehlo_name[:_MAX_NAME_CHARS])
    literal = f"[{peer}]" if peer.version == 4 else f"[IPv6:{peer}]"
    return (
        f"Received: from {name} ({literal})\r\n"
        f"\tby {hostname} with {protocol} id {session_id};\r\n"
        f"\t{_date(now.replace(microsecond=0))}\r\n"
    ).encode("ascii")


@lru_cache(maxsize=8)
def _date(second: datetime) -> str:
    # Many messages come within one second; to spell its date takes most of the time.
    return format_datetime(second)


def protocol_name(
    *, is_extended: bool, has_utf8: bool, is_secure: bool, is_authenticated: bool
) -> str:
    """Return the ``with`` protocol (RFC 3848; RFC 6531 §3.7.3 for SMTPUTF8)."""
    if not is_extended:
        return "SMTP"
    suffix = ("S" if is_secure else "") + ("A" if is_authenticated else "")
    return ("UTF8SMTP" if has_utf8 else "ESMTP") + suffix
