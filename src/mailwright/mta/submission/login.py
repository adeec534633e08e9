"""AUTH PLAIN and LOGIN as an exchange of lines: pure, total, strict base64.

Standards: RFC 4954 (AUTH), RFC 4616 (PLAIN), RFC 4648 §4 (base64); LOGIN is an expired
draft that every client speaks.
"""

import binascii
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from mailwright.reply import Phase, Reply, local_reply

MECHANISMS: Final = ("PLAIN", "LOGIN")
MAX_NAME_CHARS: Final = 255
MAX_SECRET_CHARS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to ask; ``octets`` are the whole 334 line with CRLF."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class NameAndSecret:
    """What the client claims, not yet checked. The secret is not in its ``repr``."""

    name: str
    secret: str

    @override
    def __repr__(self) -> str:
        return "NameAndSecret(…)"


Step = Challenge | NameAndSecret | Reply


class LoginExchange:
    """One AUTH command, up to the claim or a refusal of its form.

    Call :meth:`start` once, then :meth:`answer` with each line the client sends after a
    :class:`Challenge`.
    """

    def __init__(self, mechanism: str) -> None:
        """Take ``mechanism`` in upper case; one that we do not know fails at the start."""
        self._mechanism = mechanism
        self._name: str | None = None

    def start(self, initial: str | None) -> Step:
        """Begin, with the initial response if there was one."""
        if self._mechanism not in MECHANISMS:
            text = "mechanism not offered"
            return local_reply(504, "5.5.4", text, Phase.AUTH)
        if initial is None:
            return _PLAIN if self._mechanism == "PLAIN" else _USER_NAME
        # RFC 4954 §4: "=" stands for an initial response of no octets.
        return self.answer(b"" if initial == "=" else initial.encode())

    def answer(self, line: bytes) -> Step:
        """Take the client's line, without CRLF."""
        if line == b"*":
            return local_reply(501, "5.7.0", "authentication cancelled", Phase.AUTH)
        try:
            text = binascii.a2b_base64(line, strict_mode=True).decode("utf-8")
        except ValueError:
            return local_reply(501, "5.5.2", "not base64 of UTF-8", Phase.AUTH)
        if self._mechanism == "PLAIN":
            identity, _, claim = text.partition("\0")
            name, nul, secret = claim.partition("\0")
            if not nul or (identity and identity != name):
                return _MALFORMED
            return _claim(name, secret)
        if self._name is None:
            self._name = text
            return _PASSWORD
        return _claim(self._name, text)


def _claim(name: str, secret: str) -> Step:
    if (
        not 0 < len(name) <= MAX_NAME_CHARS
        or not 0 < len(secret) <= MAX_SECRET_CHARS
        or "\0" in secret + name
    ):
        return _MALFORMED
    return NameAndSecret(name, secret)


_MALFORMED: Final = local_reply(
    501, "5.5.2", "not a name and a secret of sane length", Phase.AUTH
)
_PLAIN: Final = Challenge(b"334 \r\n")
_USER_NAME: Final = Challenge(b"334 " + b64encode(b"Username:") + b"\r\n")
_PASSWORD: Final = Challenge(b"334 " + b64encode(b"Password:") + b"\r\n")
