"""What a reply means for a delivery.

A refusal that is about us never ends a delivery: whatever is said before MAIL concerns
the connection, not the recipient. The category is read off the enhanced code
(RFC 3463, RFC 5248 registry) where that says enough.
"""

from typing import Final

from mailwright.attempt import Outcome, Verdict
from mailwright.reply import Origin, Phase, Reply

#: Said before any envelope: about us.
_BEFORE_MAIL: Final = frozenset(
    {Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH}
)

#: (subject, detail) of an enhanced code → category.
_CATEGORIES: Final[dict[tuple[str, str], str]] = {
    ("1", "1"): "invalid_mailbox",
    ("1", "2"): "invalid_domain",
    ("1", "3"): "invalid_mailbox",
    ("1", "6"): "inactive",  # has moved
    ("1", "10"): "invalid_domain",  # null MX, RFC 7505
    ("2", "1"): "inactive",
    ("2", "2"): "mailbox_full",
    ("2", "3"): "message_too_large",
    ("3", "1"): "system",
    ("3", "2"): "system",
    ("3", "4"): "message_too_large",
    ("4", "1"): "network",
    ("4", "2"): "network",
    ("4", "3"): "network",
    ("4", "4"): "network",
    ("4", "6"): "network",  # routing loop
    ("5", "0"): "protocol_error",
    ("5", "1"): "protocol_error",
    ("5", "2"): "protocol_error",
    ("5", "4"): "protocol_error",
    ("6", "0"): "message_format",
    ("6", "7"): "invalid_mailbox",  # needs SMTPUTF8
    ("7", "20"): "auth_failed",
    ("7", "23"): "auth_failed",
    ("7", "25"): "rdns",
    ("7", "26"): "auth_failed",
}
_BY_PHASE: Final = {
    Phase.CONNECT: "network",
    Phase.TLS: "tls",
    Phase.AUTH: "auth_failed",
}


def verdict_of(reply: Reply) -> Verdict:
    """Return outcome and category of ``reply``.

    Total: an unknown code counts by its first digit (RFC 5321 §4.2.1), and what is
    neither 2, 4 nor 5 is tried again. An unknown *local* failure before MAIL that is
    permanent (no such domain) does end the delivery: it is about the recipient.
    """
    category = _category(reply)
    if reply.is_success:
        return Verdict(Outcome.DELIVERED, "")
    if not reply.is_permanent:
        return Verdict(Outcome.RETRY, category)
    if reply.phase in _BEFORE_MAIL and reply.origin is Origin.REMOTE:
        return Verdict(Outcome.REQUEUE, category)
    if reply.code == 552 and reply.phase is Phase.RCPT and category == "unknown":
        # RFC 5321 §4.5.3.1.10: 552 to RCPT is an old spelling of 452.
        return Verdict(Outcome.RETRY, category)
    return Verdict(Outcome.FAIL, category)


def _category(reply: Reply) -> str:
    parts = reply.enhanced.split(".")
    if len(parts) == 3:
        found = _CATEGORIES.get((parts[1], parts[2]))
        if found is not None:
            return found
    return _BY_PHASE.get(reply.phase, "unknown")
