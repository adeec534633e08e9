"""The fields that are removed at intake, as data, each with its reason.

Removing hides nothing that a recipient needs: these fields speak to a submission
service, or are set by whoever delivers last. Fields by which a CRM finds its own mail
again (``X-CampTrackID``, ``X-Queue-Item-Id``, ``X-EMAIL-ID``, ``X-Odoo-Objects``, …)
stay: bounces must carry them back.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Removal(NamedTuple):
    """A field, or a family of fields, that is removed.

    Attributes:
        key: the name in lower case; the beginning of the names if ``is_family``.
        is_control: the submitter speaks to us by it: its value is handed on.
        reason: why it must not leave.
    """

    key: bytes
    is_family: bool
    is_control: bool
    reason: str


REMOVALS: Final = (
    Removal(b"bcc", False, False, "names hidden recipients (RFC 5322 §3.6.3)"),
    Removal(b"resent-bcc", False, False, "names hidden recipients (RFC 5322 §3.6.6)"),
    Removal(b"return-path", False, False, "set at final delivery (RFC 5321 §4.4)"),
    Removal(b"content-length", False, False, "a mailbox format's; false after edits"),
    Removal(b"x-mailwright-", True, True, "controls this node"),
    # Services whose clients may be pointed at us. Their values name other recipients,
    # pools and prices, and a later hop must not act on them.
    Removal(b"x-smtpapi", False, True, "SendGrid: recipients and substitutions"),
    Removal(b"x-mailgun-", True, True, "Mailgun: tags, tracking, pools, variables"),
    Removal(b"x-unione", True, True, "UniOne: options in JSON"),
    Removal(b"x-msys-api", False, True, "SparkPost: options in JSON"),
    Removal(b"x-sending-zone", False, True, "ZoneMTA: the pool to send from"),
)

_SINGLE: Final[Mapping[bytes, Removal]] = {
    removal.key: removal for removal in REMOVALS if not removal.is_family
}
_FAMILIES: Final = tuple(removal for removal in REMOVALS if removal.is_family)
_FAMILY_KEYS: Final = tuple(removal.key for removal in _FAMILIES)


def removal_of(key: bytes) -> Removal | None:
    """Return why a field with this lower-case name is removed; ``None`` keeps it."""
    removal = _SINGLE.get(key)
    if removal is not None or not key.startswith(_FAMILY_KEYS):
        return removal
    return next(family for family in _FAMILIES if key.startswith(family.key))
