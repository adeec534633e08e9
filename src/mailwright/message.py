"""Messages as octets: where the header ends, which fields it has, who it is from.

Nothing here decodes and re-encodes: a field is a range of octets in its header section,
and whoever edits a message cuts and joins those ranges. Every function is total:
garbage gives fewer fields and more defects, never an exception, and the work is linear
in the size of the input.

Standards: RFC 5322 §2.2 (fields, folding), §3.4 (mailboxes), §4 (obsolete spacing before
the colon is read, so that ``Bcc :`` cannot hide), RFC 6532 §3 (UTF-8 in fields).
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from mailwright.address import Address, AddressError, parse_address

CRLF: Final = b"\r\n"
MAX_FROM_OCTETS: Final = 4096
#: A large message is worked on in pieces of this size: each operation holds the
#: interpreter lock to its end, and the loop waits.
PIECE_OCTETS: Final = 65_536
_MAX_DEFECTS: Final = 20
_ALL_BUT_LINE_ENDS: Final = bytes(octet for octet in range(256) if octet not in CRLF)

# A field runs to the first CRLF that no blank follows (RFC 5322 §2.2.3). Possessive
# quantifiers keep the scan linear on every input; they stand on single characters only,
# because Python before 3.11.5 matches possessive groups wrongly (gh-106052).
_FIELD: Final = re.compile(
    rb"([!-9;-~]++)[ \t]*+:([^\r]*+(?:\r(?!\n(?![ \t]))[^\r]*+)*)\r\n"
    # Whatever else stands between two such line ends is no field; it is skipped whole.
    rb"|[^\r]*+(?:\r(?!\n(?![ \t]))[^\r]*+)*(?:\r\n|\Z)"
)


class Field(NamedTuple):
    """One field of a header section.

    Attributes:
        name: as it is spelt.
        key: the name in lower case.
        start: offset of its first octet in the header section.
        end: offset after its final CRLF.
        value: what follows the colon, raw: leading blank and folding kept, final CRLF
            not.
    """

    name: bytes
    key: bytes
    start: int
    end: int
    value: bytes


class FromFault(StrEnum):
    """Why a header names no single author; fit for a reply as it is."""

    MISSING = "the message has no From field"
    REPEATED = "the message has more than one From field"
    TOO_LONG = "the From field is too long"
    SEVERAL = "the From field must hold exactly one mailbox"
    GROUP = "the From field must not hold a group"
    SYNTAX = "the From field is not a mailbox"
    ADDRESS = "the address in the From field is not usable"


def split(octets: bytes) -> tuple[bytes, bytes]:
    """Return the header section with its final empty line, and the body.

    The two joined are ``octets``, except that a message which ends within its header
    gets the line ends that are missing there (RFC 5322 §3.5: the body is optional).
    """
    if octets.startswith(CRLF):
        return CRLF, octets[2:]
    end = octets.find(b"\r\n\r\n")
    if end >= 0:
        return octets[: end + 4], octets[end + 4 :]
    if not octets:
        return CRLF, b""
    return octets + (CRLF if octets.endswith(CRLF) else b"\r\n\r\n"), b""


def has_stray_line_end(octets: bytes, *, piece: int = PIECE_OCTETS) -> bool:
    """Return whether a CR or an LF is not part of a CRLF (RFC 5321 §2.3.8).

    Cost: about a nanosecond an octet, ``piece`` octets at a time.
    """
    start = 0
    while start < len(octets):
        end = start + piece
        if octets[end - 1 : end + 1] == CRLF:
            end += 1  # a CRLF is not cut in two
        part = octets[start:end]
        if len(part.translate(None, _ALL_BUT_LINE_ENDS)) != 2 * part.count(CRLF):
            return True
        start = end
    return False


def fields(header: bytes) -> tuple[Field, ...]:
    """Return the fields of ``header`` in their order; lines that are no field are left out.

    ``header`` is a header section with or without its final empty line. Cost: about
    half a microsecond a field.
    """
    found = []
    start = 0
    for match in _FIELD.finditer(header, 0, _section_end(header)):
        name, value = match.groups()
        end = match.end()
        if name is not None:
            found.append(Field(name, name.lower(), start, end, value))
        start = end
    return tuple(found)


def defects(header: bytes) -> tuple[str, ...]:
    """Return what of ``header`` is no field, one short text for each run of lines.

    The texts hold line numbers and no octet of the input; at most 20 are given.
    """
    found: list[str] = []
    for match in _FIELD.finditer(header, 0, _section_end(header)):
        if match[1] is None and match[0]:
            line = header.count(CRLF, 0, match.start()) + 1
            found.append(f"header line {line} is not a field")
            if len(found) == _MAX_DEFECTS:
                break
    return tuple(found)


def find(found: Iterable[Field], name: bytes) -> list[Field]:
    """Return the fields called ``name``, in any case, in their order."""
    key = name.lower()
    return [field for field in found if field.key == key]


def unfold(value: bytes) -> bytes:
    """Return a field's value on one line, without blanks at its ends (RFC 5322 §2.2.3)."""
    return value.replace(CRLF, b"").strip(b" \t")


def from_mailbox(found: Iterable[Field]) -> Address | FromFault:
    """Return the one mailbox of the one From field, or why there is none.

    Strict where readers differ: no group, no route, no second mailbox, no blank or
    comment inside the address, no unquoted special in the display name, no
    encoded-word as a local part. RFC 5322 §3.6.2 allows more; DMARC and people do not.
    """
    from_fields = find(found, b"from")
    if len(from_fields) != 1:
        return FromFault.REPEATED if from_fields else FromFault.MISSING
    value = unfold(from_fields[0].value)
    if len(value) > MAX_FROM_OCTETS:
        return FromFault.TOO_LONG
    plain = _PLAIN.fullmatch(value)
    if plain is not None:
        return _usable(plain[1] or plain[2])
    tokens = _tokenize(value)
    return FromFault.SYNTAX if tokens is None else _one_mailbox(tokens)


def _section_end(header: bytes) -> int:
    """Return the offset of the final empty line, or the length without one."""
    if header.endswith(b"\r\n\r\n") or header == CRLF:
        return len(header) - 2
    return len(header)


# --- mailboxes (RFC 5322 §3.4) ---------------------------------------------------------


class _Kind(StrEnum):
    ATOM = "atom"
    QUOTED = "quoted"
    SPECIAL = "special"
    BLANK = "blank"  # white space and comments: CFWS


class _Token(NamedTuple):
    kind: _Kind
    text: bytes


# The plain forms that nearly all mail has, at a tenth of the cost: no comments, no CFWS
# inside the brackets, ASCII. Whatever this matches, the tokens must say the same.
_DOT_ATOM: Final = rb"[\w!#$%&'*+/=?^`{|}~-]++(?:\.[\w!#$%&'*+/=?^`{|}~-]++)*"
_PLAIN: Final = re.compile(
    rb"(?:[\w!#$%%&'*+/=?^`{|}~. \t-]++|\"[ !#-\[\]-~]*+\")*<(%b@%b)>|(%b@%b)"
    % ((_DOT_ATOM,) * 4),
    re.ASCII,
)

_OPENING: Final = _Token(_Kind.SPECIAL, b"<")
_CLOSING: Final = _Token(_Kind.SPECIAL, b">")
_AT_SIGN: Final = _Token(_Kind.SPECIAL, b"@")
_TOKEN: Final = re.compile(
    rb"(?P<blank>[ \t]++)"
    rb"|(?P<atom>[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]++)"
    rb"|(?P<quoted>\"(?:[^\x00-\x08\x0a-\x1f\x7f\"\\]|\\[\t -~\x80-\xff])*\")"
    rb"|(?P<special>[<>:;@,.])"
)
_COMMENT_STEP: Final = re.compile(
    rb"[^\x00-\x08\x0a-\x1f\x7f()\\]++|\\[\t -~\x80-\xff]|[()]"
)
_ENCODED_WORD: Final = re.compile(rb"=\?.*\?=@")


def _tokenize(value: bytes) -> list[_Token] | None:
    """Return the tokens of an unfolded address field, or ``None`` for a stray octet."""
    tokens = []
    at = 0
    while at < len(value):
        if value[at] == 0x28:
            end = _comment_end(value, at)
            if end is None:
                return None
            tokens.append(_Token(_Kind.BLANK, b""))
            at = end
            continue
        match = _TOKEN.match(value, at)
        if match is None or match.lastgroup is None:
            return None
        tokens.append(_Token(_Kind(match.lastgroup), match[0]))
        at = match.end()
    return tokens


def _comment_end(value: bytes, at: int) -> int | None:
    """Return the offset after the comment that opens at ``at``; comments nest."""
    depth = 0
    while match := _COMMENT_STEP.match(value, at):
        at = match.end()
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if not depth:
                return at
    return None


def _one_mailbox(tokens: Sequence[_Token]) -> Address | FromFault:
    specials = [token.text for token in tokens if token.kind is _Kind.SPECIAL]
    if b"," in specials:
        return FromFault.SEVERAL
    if b":" in specials or b";" in specials:
        return FromFault.GROUP
    tokens = _trimmed(tokens)
    if b"<" not in specials:
        return _addr_spec(tokens)
    opening = tokens.index(_OPENING)
    # A dot is allowed unquoted (obs-phrase, RFC 5322 §4.1): "John Q. Public".
    name_is_phrase = all(
        token.kind is not _Kind.SPECIAL or token.text == b"."
        for token in tokens[:opening]
    )
    if not name_is_phrase or tokens[-1] != _CLOSING:
        return FromFault.SYNTAX
    return _addr_spec(_trimmed(tokens[opening + 1 : -1]))


def _trimmed(tokens: Sequence[_Token]) -> Sequence[_Token]:
    start, end = 0, len(tokens)
    while start < end and tokens[start].kind is _Kind.BLANK:
        start += 1
    while start < end and tokens[end - 1].kind is _Kind.BLANK:
        end -= 1
    return tokens[start:end]


def _addr_spec(tokens: Sequence[_Token]) -> Address | FromFault:
    if tokens.count(_AT_SIGN) != 1:
        return FromFault.SYNTAX
    middle = tokens.index(_AT_SIGN)
    local, domain = tokens[:middle], tokens[middle + 1 :]
    is_quoted = len(local) == 1 and local[0].kind is _Kind.QUOTED
    if not (is_quoted or _is_dot_atom(local)) or not _is_dot_atom(domain):
        return FromFault.SYNTAX
    return _usable(b"".join(token.text for token in tokens))


def _usable(octets: bytes) -> Address | FromFault:
    if _ENCODED_WORD.match(octets):
        # Some readers decode it and then see another address (RFC 2047 §5 forbids it).
        return FromFault.ADDRESS
    try:
        return parse_address(octets.decode())
    except (AddressError, UnicodeDecodeError):
        return FromFault.ADDRESS


def _is_dot_atom(tokens: Sequence[_Token]) -> bool:
    """Whether atoms and single dots alternate, atoms at both ends (§3.2.3)."""
    if len(tokens) % 2 == 0:
        return False
    return all(
        token.text == b"." if place % 2 else token.kind is _Kind.ATOM
        for place, token in enumerate(tokens)
    )
