"""Ids: (node, counter) in 64 bits inside, strings with the accept day outside.

An id is never random: rows that are written together lie together. Outside it is
``msg_20261122_00000g40002p``: kind, the UTC day on which it was accepted (it names the
day table that holds what is final), and the 64 bits in Crockford's base32.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, NewType

TenantId = NewType("TenantId", int)
CredentialId = NewType("CredentialId", int)
StreamId = NewType("StreamId", int)
SendingDomainId = NewType("SendingDomainId", int)
PoolId = NewType("PoolId", int)
SourceId = NewType("SourceId", int)
CampaignId = NewType("CampaignId", int)
MessageId = NewType("MessageId", int)
DeliveryId = NewType("DeliveryId", int)
LineId = NewType("LineId", int)
NodeId = NewType("NodeId", int)
HoldId = NewType("HoldId", int)
WebhookId = NewType("WebhookId", int)
#: HMAC-SHA256(subject key, canonical address), the first 16 octets.
Subject = NewType("Subject", bytes)

#: 63 bits are usable in every SQL engine: 10 for the node, 53 for its counter.
NODE_BITS: Final = 10
COUNTER_BITS: Final = 53
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TWO_DIGITS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_VALUE: Final = {char: value for value, char in enumerate(_ALPHABET)}
_PUBLIC: Final = re.compile(r"([a-z]{3})_([0-9]{8})_([0-9a-hjkmnp-tv-z]{13})")


class Kind(StrEnum):
    """What a public id names; the prefix of its string."""

    MESSAGE = "msg"
    DELIVERY = "dlv"
    CAMPAIGN = "cmp"
    WEBHOOK = "whk"


@dataclass(frozen=True, slots=True)
class PublicId:
    """A public id, taken apart."""

    kind: Kind
    day: date
    number: int


def format_public(kind: Kind, accepted_at: datetime, number: int) -> str:
    """Return the string by which clients know ``number``, accepted at ``accepted_at``."""
    return public_prefix(kind, accepted_at) + public_digits(number)


def public_prefix(kind: Kind, accepted_at: datetime) -> str:
    """Return what the public ids of a kind and a day begin with."""
    return _prefix_of(kind, accepted_at.astimezone(UTC).date())


@lru_cache(maxsize=64)
def _prefix_of(kind: Kind, day: date) -> str:
    return f"{kind}_{day:%Y%m%d}_"


def public_digits(number: int) -> str:
    """Return what tells the public ids of a kind and a day apart."""
    two = _TWO_DIGITS
    return (
        two[number >> 60]
        + two[number >> 50 & 1023]
        + two[number >> 40 & 1023]
        + two[number >> 30 & 1023]
        + two[number >> 20 & 1023]
        + two[number >> 10 & 1023]
        + two[number & 1023]
    )[1:]


def parse_public(text: str, kind: Kind) -> PublicId | None:
    """Return the parts of ``text``, or ``None`` when it is no public id of ``kind``.

    Total: garbage is ``None``, so a caller can answer 404 without a try.
    """
    match = _PUBLIC.fullmatch(text)
    if match is None or match[1] != kind:
        return None
    try:
        day = date.fromisoformat(match[2])
    except ValueError:
        return None
    number = 0
    for char in match[3]:
        number = number << 5 | _VALUE[char]
    if number >= 1 << (NODE_BITS + COUNTER_BITS):
        return None
    return PublicId(kind, day, number)


class IdBlock:
    """Hands out this node's ids from blocks that the store reserved.

    ``refill`` is called when less than half a block is left; it must reserve and commit
    the next block (raising the node's durable high-water mark) and then call
    :meth:`extend`. An id is thus never given out twice, whatever dies in between.
    """

    def __init__(self, node: NodeId, first: int, size: int, refill: Callable[[], None]):
        self._base = node << COUNTER_BITS
        self._next = first
        self._end = first + size
        self._low = size // 2
        self._refill = refill
        self._refilling = False

    def take(self) -> int:
        """Return the next id.

        Raises:
            RuntimeError: the block ran out before the store reserved the next one.
        """
        number = self._next
        if number >= self._end:
            raise RuntimeError("the reserved block of ids is used up")
        self._next = number + 1
        if self._end - self._next < self._low and not self._refilling:
            self._refilling = True
            self._refill()
        return self._base | number

    def extend(self, end: int) -> None:
        """Add what the store has reserved, up to counter ``end`` (exclusive)."""
        self._end = end
        self._refilling = False
