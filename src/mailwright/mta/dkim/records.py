"""The TXT record that publishes a DKIM key, and whether it fits the key that signs.

Standards: RFC 6376 §3.2 (tag lists), §3.6.1 (the record), §3.6.2 (where it is found),
§7.5 (query), RFC 8463 §4 (Ed25519 keys are 32 raw octets).
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from mailwright.accounts.signing_keys import PrivateKey

MAX_STRING_CHARS: Final = 255  # RFC 1035 §3.3.14: one octet of length
_MAX_RECORD_OCTETS: Final = 8192
_LABEL: Final = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_SELECTOR: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SPACE: Final = re.compile(r"\s+")


class Verdict(Enum):
    """What the records at a name mean for a key; the text says what to do."""

    MATCHES = "the record publishes this key"
    ABSENT = "no DKIM record is published; publish the one that `dkim record` prints"
    SEVERAL = "more than one DKIM record is published; leave one (RFC 6376 §3.6.2.2)"
    MALFORMED = "the record cannot be read; publish it again"
    REVOKED = "the record revokes the key (p= is empty)"
    OTHER_KEY = "the record publishes another key"
    UNUSABLE = "the record does not allow this use of the key"


@dataclass(frozen=True, slots=True)
class Record:
    """A DKIM record, taken apart.

    Attributes:
        key_type: ``k=``, lower case.
        public: ``p=``, decoded; empty means revoked.
        hashes: ``h=``, empty when not restricted.
        services: ``s=``, empty when not restricted.
        is_testing: ``t=y``: receivers may treat the mail as if unsigned.
    """

    key_type: str
    public: bytes
    hashes: frozenset[str]
    services: frozenset[str]
    is_testing: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found; ``note`` adds something to know, or is ``""``."""

    verdict: Verdict
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether receivers can verify what the key signs."""
        return self.verdict is Verdict.MATCHES

    @property
    def text(self) -> str:
        """What was found and what to do about it, for people."""
        return f"{self.verdict.value}; {self.note}" if self.note else self.verdict.value


def is_selector(text: str) -> bool:
    """Whether ``text`` can be a selector (RFC 6376 §3.1): lower case, at most 63 long."""
    return len(text) <= 63 and _SELECTOR.fullmatch(text) is not None


def record_name(domain: str, selector: str) -> str:
    """Return the name at which the record is looked up, without a trailing dot."""
    return f"{selector}._domainkey.{domain}"


def record_text(key: PrivateKey) -> str:
    """Return the record that publishes the public half of ``key``, as one string."""
    kind, public = _public_half(key)
    return f"v=DKIM1; k={kind}; p={b64encode(public).decode()}"


def zone_line(domain: str, selector: str, key: PrivateKey) -> str:
    """Return the record as a line of a zone file, in strings of at most 255 characters."""
    text = record_text(key)
    strings = (
        f'"{text[at : at + MAX_STRING_CHARS]}"'
        for at in range(0, len(text), MAX_STRING_CHARS)
    )
    return f"{record_name(domain, selector)}. IN TXT ( {' '.join(strings)} )"


def parse_record(octets: bytes) -> Record | None:
    """Return the record in ``octets`` (its strings joined), ``None`` if it is malformed.

    Total on garbage. Unknown tags are ignored (§3.2).
    """
    tags = _tags(octets)
    if tags is None or "p" not in tags:
        return None
    # §3.6.1: v= is not needed, but stands first.
    if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != "DKIM1"):
        return None
    try:
        public = b64decode(_SPACE.sub("", tags["p"]), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Record(
        tags.get("k", "rsa").lower(),
        public,
        _items(tags.get("h", "")),
        _items(tags.get("s", "")),
        "y" in _items(tags.get("t", "")),
    )


def compare(records: Sequence[bytes], key: PrivateKey) -> Comparison:
    """Return whether the TXT ``records`` at the key's name let receivers verify it.

    Args:
        records: each with its strings joined; those of other protocols are passed over.
        key: the private key that signs.
    """
    ours = [record for record in records if _may_be_dkim(record)]
    if len(ours) != 1:
        return Comparison(Verdict.SEVERAL if ours else Verdict.ABSENT)
    record = parse_record(ours[0])
    if record is None:
        return Comparison(Verdict.MALFORMED)
    if not record.public:
        return Comparison(Verdict.REVOKED)
    kind, public = _public_half(key)
    if record.key_type != kind:
        return Comparison(Verdict.OTHER_KEY, f"the record's k= is not {kind}")
    if not _is_same_key(record.public, public):
        return Comparison(Verdict.OTHER_KEY)
    if record.hashes and "sha256" not in record.hashes:
        return Comparison(Verdict.UNUSABLE, "its h= does not name sha256")
    if record.services and not record.services & {"*", "email"}:
        return Comparison(Verdict.UNUSABLE, "its s= does not name email")
    note = "t=y marks it as a test: take it out when signing works"
    return Comparison(Verdict.MATCHES, note if record.is_testing else "")


def _public_half(key: PrivateKey) -> tuple[str, bytes]:
    """Return ``k=`` and the octets of ``p=`` for ``key``."""
    if isinstance(key, RSAPrivateKey):
        public = key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return "rsa", public
    return "ed25519", key.public_key().public_bytes_raw()


def _is_same_key(published: bytes, public: bytes) -> bool:
    if published == public:
        return True
    # RFC 6376 §3.6.1 names the bare RSAPublicKey, everybody publishes the wrapped form,
    # and receivers read both.
    try:
        key = load_der_public_key(published)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, RSAPublicKey):
        return False
    return public == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _may_be_dkim(octets: bytes) -> bool:
    """Whether a TXT record is not plainly something else, such as SPF."""
    tags = _tags(octets)
    if tags is None:
        return octets.lstrip().lower().startswith(b"v=dkim1")
    # §3.6.1: a record whose v= has another value is discarded.
    return tags["v"] == "DKIM1" if "v" in tags else "p" in tags


def _tags(octets: bytes) -> Mapping[str, str] | None:
    """Return the tags of a tag list, ``None`` if it is none (§3.2)."""
    if len(octets) > _MAX_RECORD_OCTETS or not octets.isascii():
        return None
    pieces = octets.decode("ascii").split(";")
    if not pieces[-1].strip():
        pieces.pop()
    tags: dict[str, str] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip()
        # A tag given twice makes the whole list invalid.
        if not equals or name in tags or not _TAG_NAME.fullmatch(name):
            return None
        tags[name] = value.strip()
    return tags


def _items(value: str) -> frozenset[str]:
    return frozenset(item for item in _SPACE.sub("", value).lower().split(":") if item)
