"""What a session is handed: a message as it goes on the wire, or why it does not go."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from mailwright.attempt import End, Parcel
from mailwright.errors import LocalProtocolError
from mailwright.mta.smtp.stuffing import missing_end, stuff
from mailwright.reply import Phase, Reply, local_reply

_log: Final = logging.getLogger(__name__)


class PreparedContent(Protocol):
    """A message as it is to leave: edited for the receiver and signed."""

    @property
    def header(self) -> bytes:
        """Signatures and header section with its final empty line."""
        ...

    @property
    def body(self) -> bytes:
        """The body; its last line may lack its CRLF."""
        ...

    @property
    def has_8bit(self) -> bool:
        """Whether an octet above 127 is in it."""
        ...

    @property
    def edits(self) -> tuple[str, ...]:
        """What was edited for this receiver, one short text each."""
        ...


class Preparer(Protocol):
    """Makes contents of parcels. Is called in threads or in processes."""

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> Sequence[PreparedContent | Reply]:
        """Return one value for each parcel; a reply says why there is no content.

        A transient one lets it wait; a permanent one ends it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A message to put on the wire.

    Attributes:
        wire: dot-stuffed content with its final dot.
        size: octets of the content before stuffing.
        edits: what was edited for this receiver, one short text each.
    """

    wire: bytes
    size: int
    has_8bit: bool
    edits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a message does not go, and how its attempt ends."""

    end: End
    reply: Reply


Outcome: TypeAlias = Ready | Refused


#: Gets one outcome for each parcel, in their order.
OnReady: TypeAlias = Callable[[Sequence[Outcome]], None]


class Workers(Protocol):
    """Prepares parcels."""

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool, on_ready: OnReady
    ) -> None:
        """Have ``on_ready`` called with the outcomes, on the loop; maybe at once."""
        ...


def make_ready(
    preparer: Preparer, parcels: Sequence[Parcel], *, has_8bitmime: bool
) -> list[Outcome]:
    """Return the outcome of each parcel.

    Blocking: some 0.5 ms a message with RSA-2048.
    """
    prepared = preparer.prepare(parcels, has_8bitmime=has_8bitmime)
    return [
        _outcome(parcel, content)
        for parcel, content in zip(parcels, prepared, strict=True)
    ]


def _outcome(parcel: Parcel, prepared: PreparedContent | Reply) -> Outcome:
    if isinstance(prepared, Reply):
        is_final = prepared.is_permanent
        return Refused(End.UNRENDERED if is_final else End.UNSIGNABLE, prepared)
    header, body = prepared.header, prepared.body
    size = len(header) + len(body) + len(missing_end(body))
    try:
        wire = stuff(header, body)
    except LocalProtocolError as error:
        # No door lets such octets in: a bug of ours, which must not bounce mail.
        _log.error("delivery %d is not fit for the wire: %s", parcel.delivery, error)
        return Refused(End.REPLIED, local_reply(451, "4.3.0", str(error), Phase.DATA))
    return Ready(wire, size, prepared.has_8bit, prepared.edits)
