"""A node that looks at every secret, and takes its time: ``unlimited_logins_node.py FILE``.

A control: guesses are not limited, and each costs 10 ms on the loop, as a hash that is
made for people's passwords does.
"""

import hashlib
import sys

from mailwright.accounts.authentication import Authenticator
from mailwright.accounts.directory import Credential
from mailwright.accounts.guesses import GuessLimiter
from mailwright.cli.main import main

_authenticate = Authenticator.authenticate


def slowly(self: Authenticator, name: str, secret: str) -> Credential | None:
    """Hash as for a person."""
    hashlib.scrypt(secret.encode()[:64], salt=b"salt", n=4096, r=8, p=1)
    return _authenticate(self, name, secret)


def unlimited(self: GuessLimiter, ip: str, account: str, now: float) -> float:
    """Let everyone try."""
    del self, ip, account, now
    return 0.0


Authenticator.authenticate = slowly  # type: ignore[method-assign]
GuessLimiter.take = unlimited  # type: ignore[method-assign]
GuessLimiter.succeeded = lambda *_: None  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
