"""Preparing: from a stored message, or a campaign's content, to what a session sends.

What goes on the wire is a function of the stored octets, the delivery's row and whether
the receiver offers 8BITMIME: edited for the receiver, then signed with the key that was
fixed at acceptance, dated with the acceptance. A message that cannot be signed is not
sent: its reply says why, and it waits. One that cannot be rendered for its recipient
never leaves: its reply is permanent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from mailwright.accounts.signing_keys import SigningKeys
from mailwright.attempt import Parcel
from mailwright.ids import MessageId, SendingDomainId
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.template import RenderError
from mailwright.mta.dkim.signing import UnsignableError, sign_all
from mailwright.mta.edits.session import edit_for_receiver
from mailwright.mta.renderers import NoRendererError, Order, Rendered
from mailwright.mta.smtp.stuffing import missing_end
from mailwright.reply import Phase, Reply, local_reply

_MAX_REASON_CHARS: Final = 300


class Keys(Protocol):
    """The key ring, as far as signing goes."""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs, the aligned key first, or why the mail must wait."""
        ...


class Renders(Protocol):
    """What renders campaigns: :class:`mailwright.mta.renderers.Renderers`."""

    def render(self, orders: Sequence[Order]) -> list[Rendered]:
        """Return for each order its message, or why there is none."""
        ...


class NoRenderers:
    """Renders nothing: for a node without campaigns."""

    def render(self, orders: Sequence[Order]) -> list[Rendered]:
        """Say so.

        Raises:
            NoRendererError: always.
        """
        raise NoRendererError("nothing renders here")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message as one receiver gets it, before dot-stuffing.

    Attributes:
        header: the signatures above the header section with its final empty line.
        body: what they cover; the stored one itself where nothing of it is edited.
        has_8bit: some octet is above 127: declare BODY=8BITMIME if it is offered.
        edits: what was changed, or deliberately left, for this receiver.
    """

    header: bytes
    body: bytes
    has_8bit: bool
    edits: tuple[str, ...] = ()

    @property
    def content(self) -> bytes:
        """All of it, every line with its CRLF; a copy: sessions take the parts."""
        return b"".join((self.header, self.body, missing_end(self.body)))


class Preparer:
    """Renders, edits and signs. Use one from any number of threads."""

    __slots__ = ("_keys", "_renderers")

    def __init__(self, keys: Keys, renderers: Renders | None = None) -> None:
        self._keys = keys
        self._renderers = renderers or NoRenderers()

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> list[Prepared | Reply]:
        """Return for each parcel its content, or a reply that says why there is none.

        A transient one lets it wait; a permanent one says that it cannot be made for
        its recipient. Parcels of one message share one content. CPU work (some 0.5 ms a
        message with RSA-2048, most of it without the interpreter lock): call it in a
        thread.
        """
        done = self._rendered(parcels)
        outcomes = []
        for parcel in parcels:
            outcome = done.get(parcel.message)
            if outcome is None or isinstance(outcome, Composed):
                header, body = outcome or (parcel.header, parcel.body)
                outcome = self._prepare(parcel, header, body, has_8bitmime=has_8bitmime)
                done[parcel.message] = outcome
            outcomes.append(outcome)
        return outcomes

    def _rendered(
        self, parcels: Sequence[Parcel]
    ) -> dict[MessageId, Composed | Prepared | Reply]:
        """Return what came of those that are to be rendered."""
        merged = [
            (parcel.message, Order(parcel.body, parcel.merge, parcel.accepted_at))
            for parcel in parcels
            if parcel.merge is not None
        ]
        if not merged:
            return {}
        try:
            rendered = self._renderers.render([order for _, order in merged])
        except NoRendererError as error:
            return {message: _must_wait(str(error)) for message, _ in merged}
        return {
            message: _unrendered(made) if isinstance(made, RenderError) else made
            for (message, _), made in zip(merged, rendered, strict=True)
        }

    def _prepare(
        self, parcel: Parcel, header: bytes, body: bytes, *, has_8bitmime: bool
    ) -> Prepared | Reply:
        found = self._keys.keys_for(
            parcel.sending_domain, parcel.selector, parcel.accepted_at
        )
        if isinstance(found, str):
            return _must_wait(found)
        header, body, edits = edit_for_receiver(header, body, has_8bitmime=has_8bitmime)
        try:
            # The aligned signature stands on top: some receivers read only the first.
            signatures = sign_all(
                header, body, found.keys, signed_at=int(parcel.accepted_at.timestamp())
            )
        except UnsignableError as error:
            return _must_wait(str(error))
        if found.note:
            edits = (*edits, found.note)
        has_8bit = not (body.isascii() and header.isascii())
        return Prepared(signatures + header, body, has_8bit, edits)


def _must_wait(reason: str) -> Reply:
    # X.7.5 is a cryptographic failure (RFC 3463 §3.8); transient, so that the mail waits.
    return local_reply(451, "4.7.5", f"not signed, not sent: {reason}", Phase.DATA)


def _unrendered(error: RenderError) -> Reply:
    # X.6.0 is an undefined media error (RFC 3463 §3.7); permanent: the content and the
    # recipient's fields do not change.
    said = "".join(char if char.isprintable() else "?" for char in str(error))
    return local_reply(
        554, "5.6.0", f"not rendered: {said[:_MAX_REASON_CHARS]}", Phase.DATA
    )
