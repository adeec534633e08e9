"""Addresses: one parser makes the one canonical form.

Suppression, throttle keys and the octets on the wire all come from
:attr:`Address.canonical`. What cannot be made canonical is refused; nothing is repaired
or cut. The canonical form is the lower-cased local part (no dot or plus folding; quoted
only if it must be) and the domain as lower-case A-labels without a trailing dot.

Standards: RFC 5321 §4.1.2 (mailbox), §4.5.3.1 (sizes), RFC 6531 §3.3 (UTF-8 local
parts), RFC 5890/UTS 46 (A-labels), RFC 5321 §4.1.3 (literals: refused).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import idna
from typing_extensions import override

from mailwright.errors import MailwrightError

MAX_LOCAL_PART_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
MAX_DOMAIN_OCTETS: Final = 253  # 255 of §4.5.3.1.2 less DNS's length octet and root
MAX_PATH_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3: 256 with the angle brackets

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_ASCII_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# What a resolver may take for the last part of an IPv4 address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SPECIAL: Final = frozenset('()<>[]:;@\\,." ')


class AddressError(MailwrightError):
    """Not an address that we can send to.

    Attributes:
        reason: a short text without any part of the input, fit for a reply.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """A canonical mailbox. Made by :func:`parse_address` only.

    Attributes:
        local_part: as it goes on the wire: lower case, quoted if it must be.
        domain: lower-case A-labels joined by dots.
    """

    local_part: str
    domain: str

    @property
    def canonical(self) -> str:
        """The one spelling of this mailbox, without angle brackets."""
        return f"{self.local_part}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether the next hop must offer SMTPUTF8 (RFC 6531 §3.1)."""
        return not self.local_part.isascii()

    def to_wire(self) -> bytes:
        """Return the canonical form as octets, without angle brackets."""
        return self.canonical.encode()

    @override
    def __str__(self) -> str:
        return self.canonical


def parse_address(text: str) -> Address:
    """Return the canonical address that ``text`` spells, without angle brackets.

    Cost: microseconds; the A-labels of a domain are remembered.

    Raises:
        AddressError: no mailbox, or one that we refuse: a literal, a control character,
            a source route, too long, a domain of one label.
    """
    if len(text) > 4 * MAX_PATH_OCTETS:
        raise AddressError("address too long")
    local_text, at, domain_text = text.rpartition("@")
    if not at or not local_text or not domain_text:
        raise AddressError("address needs a local part and a domain")
    address = Address(_canonical_local_part(local_text), canonical_domain(domain_text))
    if len(address.to_wire()) > MAX_PATH_OCTETS:
        raise AddressError("address too long")
    return address


def _canonical_local_part(text: str) -> str:
    if text.startswith('"'):
        text = _unquoted(text)
    elif not _is_dot_string(text):
        raise AddressError("local part has characters that need quotes")
    # NFC first, so that two spellings of one character are one address (RFC 6532 §3.1).
    value = unicodedata.normalize("NFC", text).lower()
    if not _is_dot_string(value):
        # `.lower()` of a character outside ASCII can yield ASCII (K, the Kelvin sign).
        value = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    if len(value.encode()) > MAX_LOCAL_PART_OCTETS:
        raise AddressError("local part over 64 octets")
    return value


def _unquoted(text: str) -> str:
    """Return the content of a quoted-string (RFC 5321 §4.1.2)."""
    if len(text) < 3 or not text.endswith('"'):
        raise AddressError("local part has an unfinished quoted string")
    value = []
    chars = iter(text[1:-1])
    for char in chars:
        if char == "\\":
            taken = next(chars, "")
            if not taken:
                raise AddressError("local part has an unfinished quoted string")
        elif char == '"':
            raise AddressError("local part has a quote inside quotes")
        else:
            taken = char
        if not _is_printable(taken):
            raise AddressError("local part has a control character")
        value.append(taken)
    return "".join(value)


def _is_printable(char: str) -> bool:
    if char.isascii():
        return " " <= char <= "~"
    # Controls, separators, surrogates, private use and invisible format characters
    # have no business in an address and make look-alikes.
    return unicodedata.category(char)[0] in "LMNPS"


def _is_dot_string(text: str) -> bool:
    if text.isascii():
        return _DOT_STRING.fullmatch(text) is not None
    if not all(part for part in text.split(".")):
        return False
    return all(
        char == "." or (_is_printable(char) and char not in _SPECIAL) for char in text
    )


@lru_cache(maxsize=8_192)  # more would cost memory: to look anew takes microseconds
def canonical_domain(text: str) -> str:
    """Return ``text`` as lower-case A-labels; itself, if it is that.

    Raises:
        AddressError: a literal, a single label, a label that is empty, too long or not
            valid under UTS 46.
    """
    if text.startswith("["):
        raise AddressError("address literals are not accepted")
    if text.isascii():
        domain = text.lower()
    else:
        try:
            domain = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError(
                "domain is not a valid internationalised name"
            ) from error
    labels = domain.split(".")
    if len(domain) > MAX_DOMAIN_OCTETS:
        raise AddressError("domain over 253 octets")
    if len(labels) < 2:
        raise AddressError("domain needs at least two labels")
    if not all(_ASCII_LABEL.fullmatch(label) for label in labels):
        raise AddressError("domain has an invalid label")
    if _NUMBER.fullmatch(labels[-1]):
        raise AddressError("address literals are not accepted")
    return text if domain == text else domain  # many keep it: they share one object
