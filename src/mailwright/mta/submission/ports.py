"""What the SMTP door needs of others; ``daemon/wiring.py`` plugs them in."""

from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from mailwright.accounts.directory import Credential
from mailwright.mta.admission import Offer
from mailwright.reply import Reply
from mailwright.submission import Submission

PeerIp = IPv4Address | IPv6Address


class Logins(Protocol):
    """Knows who may submit."""

    def login(
        self, name: str, secret: str, peer: PeerIp, now: datetime
    ) -> Credential | Reply:
        """Return whose name and secret these are, or 535 or 454 (guess limits).

        At most one cheap hash; same work and text whether ``name`` exists or not.
        """
        ...

    def for_network(self, name: str) -> Credential | None:
        """Return the live credential ``name`` that a listener gives to its networks."""
        ...


class Admits(Protocol):
    """Decides whether a message is taken."""

    def admit(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Reply:
        """Return the offer checked and edited for storing, or what refuses it.

        Called in a thread for large messages.
        """
        ...
