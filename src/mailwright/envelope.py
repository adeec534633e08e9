"""The envelope of a message: reverse-path and recipients (RFC 5321 §2.3.1).

DSN parameters (RFC 3461) travel with it, decoded.
"""

from dataclasses import dataclass
from enum import StrEnum

from mailwright.address import Address


class Notify(StrEnum):
    """When a recipient's delivery is to be reported (RFC 3461 §4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Ret(StrEnum):
    """How much of the message a DSN returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT.

    Attributes:
        address: canonical.
        notify: empty when not given (then: on failure).
        orcpt: ``addr-type;address`` with xtext decoded, or ``""``.
    """

    address: Address
    notify: frozenset[Notify] = frozenset()
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """MAIL and its RCPTs.

    Attributes:
        reverse_path: ``None`` is the null reverse-path ``<>``.
        recipients: at least one, in the order given.
        ret: what a DSN returns, or ``None``.
        envid: xtext decoded, at most 100 characters, or ``""``.
        has_8bit: the client declared BODY=8BITMIME.
        has_utf8: the client declared SMTPUTF8.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    ret: Ret | None = None
    envid: str = ""
    has_8bit: bool = False
    has_utf8: bool = False
