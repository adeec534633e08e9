r"""Paths and parameters of MAIL and RCPT: text in, values or a refusal out.

Total: garbage is a :class:`Refused`, never an exception. A path is angle brackets around
one mailbox, or nothing (the null reverse-path); :func:`mailwright.address.parse_address`
alone decides what a mailbox is. Source routes are refused: RFC 5321 says a server MUST take
their syntax and SHOULD ignore them; we take no address apart to mail another one.

Standards: RFC 5321 §4.1.2 (paths), §4.1.1.11 (parameters), RFC 3461 §4 (xtext, DSN
parameters), RFC 6533 §3 (UTF-8 in ORCPT).
"""

import re
from dataclasses import dataclass
from typing import Final

from mailwright.address import Address, AddressError, parse_address
from mailwright.envelope import Notify

MAX_ENVID_CHARS: Final = 100  # RFC 3461 §4.4
MAX_ORCPT_CHARS: Final = 500  # RFC 3461 §4.2

# A quoted string may hold ">": it ends a path only outside quotes.
_PATH: Final = re.compile(r'<((?:"(?:[^"\\]++|\\.)*"|[^"<>]++)*)>(.*)')
_KEYWORD: Final = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a path or parameter is not taken; fit for a reply.

    Attributes:
        is_grammar: it does not even look like one (501); else it is one that we refuse.
    """

    text: str
    is_grammar: bool = True


def parse_path(text: str) -> tuple[Address | None, str] | Refused:
    """Return the mailbox of the path that begins ``text``, and what follows the path.

    ``None`` is the null path ``<>``. What follows is empty or begins with a blank.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        return Refused("path must be an address in angle brackets")
    mailbox, rest = match.groups()
    if rest and not rest.startswith(" "):
        return Refused("something follows the path without a blank")
    if not mailbox:
        return None, rest
    if mailbox.startswith("@"):
        return Refused("source routes are not accepted")
    try:
        return parse_address(mailbox), rest
    except AddressError as error:
        return Refused(error.reason, is_grammar=False)


def parse_parameters(text: str) -> dict[str, str | None] | Refused:
    """Return the parameters in ``text`` by upper-case keyword; ``None`` is no value.

    Values are as given: not empty, printable, without ``=``.
    """
    parameters: dict[str, str | None] = {}
    for parameter in text.split(" "):
        if not parameter:
            continue
        keyword, equals, value = parameter.partition("=")
        keyword = keyword.upper()
        if not _KEYWORD.fullmatch(keyword):
            return Refused("parameter without a keyword")
        if keyword in parameters:
            return Refused(f"{keyword[:20]} given twice")
        if equals and (not value or "=" in value or not value.isprintable()):
            return Refused(f"{keyword[:20]} has a value that cannot be")
        parameters[keyword] = value if equals else None
    return parameters


def decode_xtext(text: str) -> str | None:
    """Return what ``text`` encodes, or ``None`` when it is not xtext.

    Strict: upper-case hexadecimal, and only printable ASCII and blanks come out, so that
    nothing decoded can end a line (RFC 3461 §4).
    """
    if _XTEXT.fullmatch(text) is None:
        return None
    if "+" not in text:
        return text
    decoded = _HEX.sub(lambda match: chr(int(match[1], 16)), text)
    return decoded if decoded.isascii() and decoded.isprintable() else None


def parse_envid(value: str | None) -> str | Refused:
    """Return the envelope id that ``value`` encodes (RFC 3461 §4.4)."""
    decoded = decode_xtext(value) if value else None
    if not decoded or len(decoded) > MAX_ENVID_CHARS:
        return Refused(f"ENVID must be xtext of 1 to {MAX_ENVID_CHARS} characters")
    return decoded


def parse_orcpt(value: str | None) -> str | Refused:
    r"""Return ``addr-type;address``, decoded (RFC 3461 §4.2).

    An address outside ASCII (type ``utf-8``) comes out in the ASCII form of RFC 6533 §3:
    each such character as ``\x{…}``, which is xtext as well.
    """
    refused = Refused(
        f"ORCPT must be addr-type;xtext of at most {MAX_ORCPT_CHARS} characters"
    )
    kind, semicolon, text = (value or "").partition(";")
    if not semicolon or not text or not _ADDRESS_TYPE.fullmatch(kind):
        return refused
    if not text.isascii():
        if kind.lower() != "utf-8":
            return refused
        text = "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in text)
    decoded = decode_xtext(text)
    if not decoded or len(kind) + 1 + len(decoded) > MAX_ORCPT_CHARS:
        return refused
    return f"{kind};{decoded}"


def parse_notify(value: str | None) -> frozenset[Notify] | Refused:
    """Return when to report: NEVER alone, or any of the others (RFC 3461 §4.1)."""
    wanted = (value or "").upper().split(",")
    try:
        notify = frozenset(map(Notify, wanted))
    except ValueError:
        return Refused("NOTIFY must be NEVER, or SUCCESS, FAILURE, DELAY")
    if Notify.NEVER in notify and len(wanted) > 1:
        return Refused("NOTIFY=NEVER must stand alone")
    return notify
