"""Logins: guess limits first, then the authenticator, then the answer for each door.

Everything happens in one go on the event loop, in some microseconds, so no two attempts
share a token. All refusals of one kind read the same.
"""

from dataclasses import dataclass
from typing import Final

from mailwright.accounts.authentication import Authenticator, name_in_key
from mailwright.accounts.directory import Credential
from mailwright.accounts.guesses import GuessLimiter
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

    def login(self, name: str, secret: str, ip: str, now: float) -> Credential | Reply:
        """Do :meth:`check` for SMTP AUTH (RFC 4954 §6)."""
        found = self.check(name, secret, ip, now)
        if isinstance(found, Credential):
            return found
        return _TOO_MANY if found.wait_s else _WRONG
