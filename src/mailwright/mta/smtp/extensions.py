"""What a server offers: the response to EHLO as a value.

Total on garbage: a line that is no extension, or whose parameter does not parse, offers
nothing. Names compare without case (RFC 5321 §2.2.1).

Standards: RFC 5321 §4.1.1.1, RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8),
RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 3461 (DSN), RFC 2034
(ENHANCEDSTATUSCODES), RFC 9422 (LIMITS).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_KEYWORD: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
#: A number of at most 20 digits, as RFC 1870 §4 and RFC 9422 §4 have it.
_NUMBER: Final = re.compile(rb"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions that we use.

    Attributes:
        size: octets that a message may have; 0 when the server names no limit.
        has_enhanced: replies carry enhanced codes.
        auth: SASL mechanisms, upper case, in the server's order.
        mail_max: transactions in one session (LIMITS MAILMAX); 0 is no limit.
    """

    size: int = 0
    has_size: bool = False
    has_8bitmime: bool = False
    has_smtputf8: bool = False
    has_pipelining: bool = False
    has_starttls: bool = False
    has_dsn: bool = False
    has_enhanced: bool = False
    auth: tuple[str, ...] = ()
    mail_max: int = 0


#: A server that only speaks HELO.
NO_EXTENSIONS: Final = Extensions()


def parse_extensions(lines: Sequence[bytes]) -> Extensions:
    """Return what the response to EHLO offers.

    Args:
        lines: text of the response's lines; the first one greets and offers nothing.
    """
    offered: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        # "AUTH=LOGIN" is how servers spelled it before RFC 2554 was done.
        keyword, *params = line.replace(b"AUTH=", b"AUTH ").split()[:100] or [b""]
        if _KEYWORD.fullmatch(keyword):
            offered.setdefault(keyword.upper(), []).extend(params)
    return Extensions(
        size=_number(offered.get(b"SIZE", [])[:1]),
        has_size=b"SIZE" in offered,
        has_8bitmime=b"8BITMIME" in offered,
        has_smtputf8=b"SMTPUTF8" in offered,
        has_pipelining=b"PIPELINING" in offered,
        has_starttls=b"STARTTLS" in offered,
        has_dsn=b"DSN" in offered,
        has_enhanced=b"ENHANCEDSTATUSCODES" in offered,
        auth=_mechanisms(offered.get(b"AUTH", [])),
        mail_max=_mail_max(offered.get(b"LIMITS", [])),
    )


def _number(params: Sequence[bytes]) -> int:
    return int(params[0]) if params and _NUMBER.fullmatch(params[0]) else 0


def _mechanisms(params: Sequence[bytes]) -> tuple[str, ...]:
    names = (name.decode("ascii", "replace").upper() for name in params)
    return tuple(dict.fromkeys(names))


def _mail_max(params: Sequence[bytes]) -> int:
    """Return MAILMAX (RFC 9422 §4.1), or 0 when it is absent or no number."""
    for param in params:
        name, _, value = param.partition(b"=")
        if name.upper() == b"MAILMAX":
            return _number([value])
    return 0
