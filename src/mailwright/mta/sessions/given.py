"""What a process that leads sessions has been given.

Keys and the contents of campaigns go to a process once and are kept there until it is told
to forget them all.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import Parcel
from mailwright.clock import to_micros
from mailwright.ids import SendingDomainId
from mailwright.mta.sessions.wire import KeyOctets, Offer, Order

#: Keys that a process is to remember before it starts anew.
KEYS_MAX: Final = 2_000
#: Likewise octets of campaigns' contents.
CONTENT_OCTETS_MAX: Final = 64_000_000


class Keys(Protocol):
    """The key ring, as far as signing goes."""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs, the aligned key first, or why the mail must wait."""
        ...


class Given:
    """What one process has been given; makes offers with what it lacks."""

    def __init__(self, keys: Keys) -> None:
        """``keys`` sign what is offered."""
        self._ring = keys
        # By identity: a replaced key has the same names. The key itself is held, or
        # another could come to have its identity.
        self._keys: dict[int, tuple[int, DkimSecret]] = {}
        self._contents: set[int] = set()
        self._octets = 0

    def offer(self, session: int, parcels: Sequence[Parcel]) -> Offer:
        """Return the offer of ``parcels``; send offers in their order."""
        forget = len(self._keys) > KEYS_MAX or self._octets > CONTENT_OCTETS_MAX
        if forget:
            self._keys.clear()
            self._contents.clear()
            self._octets = 0
        new: list[KeyOctets] = []
        orders = [self._order(parcel, new) for parcel in parcels]
        return Offer(session, orders, new, forget)

    def _order(self, parcel: Parcel, new: list[KeyOctets]) -> Order:
        found = self._ring.keys_for(
            parcel.sending_domain, parcel.selector, parcel.accepted_at
        )
        numbers: tuple[int, ...] = ()
        note = refusal = ""
        if isinstance(found, str):
            refusal = found
        else:
            note = found.note
            numbers = tuple(self._number(key, new) for key in found.keys)
        merge, content, fields, body = None, 0, b"", parcel.body
        if parcel.merge is not None:
            given = parcel.merge
            content, fields = given.content, given.fields
            merge = given.variant, given.recipient, given.message_id
            body = self._body(content, body)
        dsn = parcel.notify, parcel.orcpt, parcel.ret, parcel.envid
        return Order(
            parcel.delivery,
            parcel.message,
            parcel.header,
            body,
            parcel.recipient,
            parcel.reverse_path,
            to_micros(parcel.accepted_at),
            numbers,
            note,
            refusal,
            dsn if any(dsn) else (),
            content,
            merge,
            fields,
        )

    def _number(self, key: DkimSecret, new: list[KeyOctets]) -> int:
        """Return the number of ``key``; one that is not known is added to ``new``."""
        known = self._keys.get(id(key))
        if known is not None:
            return known[0]
        number = len(self._keys)
        self._keys[id(key)] = number, key
        der = key.private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        new.append(KeyOctets(number, key.algorithm, key.domain, key.selector, der))
        return number

    def _body(self, content: int, body: bytes) -> bytes:
        """Return ``body`` if the process does not have it yet."""
        if content in self._contents:
            return b""
        self._contents.add(content)
        self._octets += len(body)
        return body
