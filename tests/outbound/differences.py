"""What the judges of signatures disagree about, though the signature is right.

Each row is a message whose signature holds by the letter of RFC 6376, and who refuses
it all the same. The generator of letters leaves such messages out; real mail has them.
A scenario signs each of them and sees that exactly these judges refuse it: a change in
one of them, or in us, is noticed.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from fakes.dkim_judges import MAX_FIELD_OCTETS
from mailwright.message import defects, fields, find, split
from mailwright.mta.dkim.signing import SIGNED_FIELDS

#: Fields that rspamd refuses when there are two of them, whatever is signed.
_SINGLE: Final = frozenset((b"to", b"cc", b"subject", b"message-id"))
_SPACED: Final = re.compile(rb"^([^\s:]+)[ \t]+:", re.MULTILINE)
_SIGNED: Final = frozenset(name.lower().encode() for name in SIGNED_FIELDS)
#: RFC 6376 §3.2: each tag has a name and a value.
_TAG: Final = re.compile(rb"\s*[A-Za-z][A-Za-z0-9_]*\s*=")


class Difference(NamedTuple):
    """A message, without its signature, and who refuses it."""

    header: bytes
    body: bytes
    refused_by: frozenset[str]


_DKIM: Final = b"dkim-signature"
_FROM: Final = b"From: a@example.com\r\n"
_RSPAMD: Final = frozenset(("rspamd",))

DIFFERENCES: Final[Mapping[str, Difference]] = {
    # RFC 6376 §5.4.2 counts them from below; RFC 5322 §3.6 allows one of each, and
    # rspamd spoils its own hash on purpose when there are more.
    **{
        f"{name} is there twice": Difference(
            _FROM + f"{name}: <1@a.example>\r\n{name}: <2@a.example>\r\n\r\n".encode(),
            b"text\r\n",
            _RSPAMD,
        )
        for name in ("To", "Cc", "Subject", "Message-ID")
    },
    # §3.4.4: lines of blanks become empty lines, empty lines at the end are ignored.
    "a body of blanks": Difference(_FROM + b"\r\n", b" \t\r\n\r\n", _RSPAMD),
    # WSP is space and tab (RFC 5234 B.1); some take form feed for it, too.
    "a form feed in the body": Difference(_FROM + b"\r\n", b"a\x0cb\r\n", _RSPAMD),
    "a form feed in Subject": Difference(
        _FROM + b"Subject: a\x0cb\r\n\r\n", b"text\r\n", _RSPAMD | {"opendkim"}
    ),
    "a vertical tab in Subject": Difference(
        _FROM + b"Subject: a\x0bb\r\n\r\n", b"text\r\n", frozenset(("opendkim",))
    ),
    # §3.4.2: blanks before the colon are deleted (RFC 5322 §4.5 allows to read them).
    "a blank before the colon": Difference(
        _FROM + b"Subject : text\r\n\r\n", b"text\r\n", _RSPAMD | {"dkimpy"}
    ),
    "a line that is no field": Difference(
        _FROM + b"this is no field\r\n\r\n", b"text\r\n", frozenset(("dkimpy",))
    ),
    # §6.1: a signature that cannot be read is ignored; OpenDKIM looks at none then.
    "another signature that is no list of tags": Difference(
        b"DKIM-Signature: v=1; d=a.example; ...\r\n" + _FROM + b"\r\n",
        b"text\r\n",
        frozenset(("opendkim",)),
    ),
    "a field that is longer than a milter can be told": Difference(
        _FROM + b"X-Long:" + b" word" * 20_000 + b"\r\n\r\n",
        b"text\r\n",
        frozenset(("opendkim",)),
    ),
}


def known_refusals(content: bytes) -> frozenset[str]:
    """Return who is known to refuse a message although its signature holds."""
    header, body = split(content)
    found = [each.key for each in fields(header)]
    refused: set[str] = set()
    if any(found.count(name) > 1 for name in _SINGLE):
        refused.add("rspamd")
    if body and not body.strip(b" \t\r\n") and body.strip(b"\r\n"):
        refused.add("rspamd")
    if b"\x0c" in body:
        refused.add("rspamd")
    if any(each.end - each.start > MAX_FIELD_OCTETS for each in fields(header)):
        refused.add("opendkim")
    spaced = {name.lower() for name in _SPACED.findall(header)}
    if spaced & _SIGNED:
        refused.add("rspamd")
    if defects(header) or spaced:
        refused.add("dkimpy")
    if any(not _is_tag_list(each.value) for each in find(fields(header), _DKIM)):
        refused.add("opendkim")
    return frozenset(refused)


def _is_tag_list(value: bytes) -> bool:
    tags = value.strip().removesuffix(b";").split(b";")
    return all(_TAG.match(tag) for tag in tags)
