"""Preparing: from a stored message to the octets that a session sends.

What goes on the wire is a function of the stored octets, the delivery's row and whether
the receiver offers 8BITMIME: edited for the receiver, then signed with the key that was
fixed at acceptance, dated with the acceptance. A message that cannot be signed is not
sent: its reply says why, and it waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailwright.accounts.keyring import SigningKeys
from mailwright.attempt import Parcel
from mailwright.ids import MessageId, SendingDomainId
from mailwright.mta.dkim.signing import UnsignableError, sign_all
from mailwright.mta.edits.session import edit_for_receiver
from mailwright.reply import Phase, Reply, local_reply


class Keys(Protocol):
    """The key ring, as far as signing goes."""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs, the aligned key first, or why the mail must wait."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message as one receiver gets it.

    Attributes:
        content: the signed octets, before dot-stuffing; they end in CRLF.
        has_8bit: some octet is above 127: declare BODY=8BITMIME if it is offered.
        edits: what was changed, or deliberately left, for this receiver.
    """

    content: bytes
    has_8bit: bool
    edits: tuple[str, ...] = ()


class Preparer:
    """Edits and signs. Has no state of its own: use one from any number of threads."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> list[Prepared | Reply]:
        """Return for each parcel its content, or a 451 that says why it must wait.

        Parcels of one message share one content. CPU work (some 0.5 ms a message with
        RSA-2048, most of it without the interpreter lock): call it in a thread.
        """
        done: dict[MessageId, Prepared | Reply] = {}
        outcomes = []
        for parcel in parcels:
            outcome = done.get(parcel.message)
            if outcome is None:
                outcome = self._prepare(parcel, has_8bitmime=has_8bitmime)
                done[parcel.message] = outcome
            outcomes.append(outcome)
        return outcomes

    def _prepare(self, parcel: Parcel, *, has_8bitmime: bool) -> Prepared | Reply:
        found = self._keys.keys_for(
            parcel.sending_domain, parcel.selector, parcel.accepted_at
        )
        if isinstance(found, str):
            return _must_wait(found)
        header, body, edits = edit_for_receiver(
            parcel.header, parcel.body, has_8bitmime=has_8bitmime
        )
        try:
            # The aligned signature stands on top: some receivers read only the first.
            signatures = sign_all(
                header, body, found.keys, signed_at=int(parcel.accepted_at.timestamp())
            )
        except UnsignableError as error:
            return _must_wait(str(error))
        if found.note:
            edits = (*edits, found.note)
        # The CRLF before the final dot is the body's (RFC 5321 §4.1.1.4); to DKIM it is
        # there already.
        end = b"" if not body or body.endswith(b"\r\n") else b"\r\n"
        has_8bit = not (body.isascii() and header.isascii())
        return Prepared(b"".join((signatures, header, body, end)), has_8bit, edits)


def _must_wait(reason: str) -> Reply:
    # X.7.5 is a cryptographic failure (RFC 3463 §3.8); transient, so that the mail waits.
    return local_reply(451, "4.7.5", f"not signed, not sent: {reason}", Phase.DATA)
