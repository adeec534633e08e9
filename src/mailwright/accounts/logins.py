"""Logins: guess limits first, then the authenticator, then the answer for each door.

Everything happens in one go on the event loop, in some microseconds, so no two attempts
share a token. All refusals of one kind read the same.
"""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from mailwright.accounts.authentication import Authenticator, name_in_key
from mailwright.accounts.directory import Credential
from mailwright.accounts.guesses import GuessLimiter
from mailwright.clock import Clock
from mailwright.reply import Phase, Reply, local_reply

#: RFC 4954 §6: 535 for wrong credentials, 454 for a temporary refusal.
_WRONG: Final = local_reply(
    535, "5.7.8", "authentication credentials invalid", Phase.AUTH
)
_TOO_MANY: Final = local_reply(
    454, "4.7.0", "too many failed logins, try again later", Phase.AUTH
)


@dataclass(frozen=True, slots=True)
class Denied:
    """A secret that did not get in.

    Attributes:
        wait_s: 0: it was wrong. Else it was not even looked at, and this is how many
            seconds to wait.
    """

    wait_s: float = 0.0


_DENIED: Final = Denied()


class Logins:
    """What doors ask. Not for several threads at once."""

    __slots__ = ("_authenticator", "_limiter")

    def __init__(self, authenticator: Authenticator, limiter: GuessLimiter) -> None:
        self._authenticator = authenticator
        self._limiter = limiter

    def check(self, name: str, secret: str, ip: str, now: float) -> Credential | Denied:
        """Return the credential ``name`` if ``secret`` is its secret.

        Args:
            name: as the peer gave it.
            secret: likewise.
            ip: the peer's address as text.
            now: steady seconds.
        """
        wait_s = self._limiter.take(ip, name, now)
        if wait_s > 0:
            return Denied(wait_s)
        found = self._authenticator.authenticate(name, secret)
        if found is None:
            self._limiter.failed(ip, name, now)
            return _DENIED
        self._limiter.succeeded(ip, name, now)
        return found

    def check_key(self, text: str, ip: str, now: float) -> Credential | Denied:
        """Return the credential that the API key ``text`` belongs to; see :meth:`check`."""
        return self.check(name_in_key(text), text, ip, now)

    def for_network(self, name: str) -> Credential | None:
        """Return the live credential that a listener open to networks is mapped to."""
        return self._authenticator.for_network(name)


class SmtpLogins:
    """:class:`Logins` as the SMTP door asks for them, answering in its replies."""

    __slots__ = ("_clock", "_logins")

    def __init__(self, logins: Logins, clock: Clock) -> None:
        self._logins = logins
        self._clock = clock

    def login(
        self, name: str, secret: str, peer: IPv4Address | IPv6Address, now: datetime
    ) -> Credential | Reply:
        """Return whose name and secret these are, or 535 or 454 (RFC 4954 §6).

        ``now`` is the door's wall time. Limits count steady time instead: they are
        shared with doors that do, and a clock that is set must not open or close them.
        """
        found = self._logins.check(name, secret, str(peer), self._clock.steady())
        if isinstance(found, Credential):
            return found
        return _TOO_MANY if found.wait_s else _WRONG

    def for_network(self, name: str) -> Credential | None:
        """Return the live credential that a listener open to networks is mapped to."""
        return self._logins.for_network(name)
