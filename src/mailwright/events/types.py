"""Event types: the past participles of what happened to a delivery."""

from enum import StrEnum


class EventType(StrEnum):
    """What happened. The value is public and never changes."""

    RECEIVED = "received"  # accepted from a client; durable
    SUPPRESSED = "suppressed"  # not sent: the subject must not be mailed
    DELIVERED = "delivered"  # the receiver took it
    DEFERRED = "deferred"  # an attempt ended without a verdict; will be tried again
    BOUNCED = "bounced"  # refused for good
    EXPIRED = "expired"  # given up when its time ran out
    CANCELLED = "cancelled"  # taken back before it left
    POSSIBLE_DUPLICATE = "possible_duplicate"  # settled by one who no longer owned it
