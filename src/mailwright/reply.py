"""Replies: what a receiver, or we ourselves, said about a delivery.

Standards: RFC 5321 §4.2 (codes), RFC 3463 (enhanced codes).
"""

from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override


class Phase(StrEnum):
    """Where in a session a reply was given."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class Origin(StrEnum):
    """Who made a reply."""

    REMOTE = "remote"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Attributes:
        code: three digits, 200–599; a local failure without an SMTP exchange carries the
            code that the protocol would have used (421, 450, 550, …).
        enhanced: ``class.subject.detail`` or ``""`` when the peer gave none.
        text: the lines without codes, joined by a blank; decoded as UTF-8 with
            replacement; at most 2 000 characters; no control characters.
        phase: where it was said.
        origin: who said it.
    """

    code: int
    enhanced: str
    text: str
    phase: Phase
    origin: Origin = Origin.REMOTE

    @property
    def is_success(self) -> bool:
        """Whether the class is 2."""
        return 200 <= self.code < 300

    @property
    def is_transient(self) -> bool:
        """Whether the class is 4: try again (RFC 5321 §4.2.1)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Whether the class is 5: do not repeat this in the same form (§4.2.1)."""
        return 500 <= self.code < 600

    @override
    def __str__(self) -> str:
        parts = (str(self.code), self.enhanced, self.text)
        return " ".join(part for part in parts if part)


def local_reply(code: int, enhanced: str, text: str, phase: Phase) -> Reply:
    """Return a reply that we make ourselves, in the receiver's place."""
    return Reply(code, enhanced, text, phase, Origin.LOCAL)
