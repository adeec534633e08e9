"""Text leaves as quoted-printable, where nothing that covers them forbids it.

Only the leaf's octets and its Content-Transfer-Encoding field change; MIME-Version is
added to a message without it, since the field means nothing there (RFC 2045 §4).

Quoted-printable may be three times as long, so what of one message is re-encoded has a
limit: beside the message and what is made of it there is little else in memory.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mailwright.address import Address
from mailwright.message import Field, fields, find, from_mailbox, unfold
from mailwright.mta.edits.mime import Leaf, MimeFault, find_leaves
from mailwright.mta.edits.quoted_printable import encode

_ENCODING_FIELD: Final = b"Content-Transfer-Encoding: quoted-printable\r\n"
_VERSION_FIELD: Final = b"MIME-Version: 1.0\r\n"
_SIGNING_DOMAIN: Final = re.compile(rb"(?:\A|;)[ \t]*+d[ \t]*+=[ \t]*+([^;\s]++)")
_MAX_SIGNATURES: Final = 50
#: Of the text of one message; nobody reads so much of it.
MAX_TEXT_OCTETS: Final = 2 << 20

#: Whether octets from one offset to another must not stay as they are.
IsUnfit: TypeAlias = Callable[[bytes, int, int], bool]
#: (from, to, octets in place of them), offsets as a leaf has them.
Replacement = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Reencoded:
    """A message after re-encoding, and one text for each kind of thing done or left."""

    header: bytes
    body: bytes
    edits: tuple[str, ...]


def reencode_text(
    header: bytes, body: bytes, *, is_unfit: IsUnfit, trait: str
) -> Reencoded:
    """Return the message with its unfit text leaves as quoted-printable.

    Args:
        header: header section with its final empty line.
        body: the body.
        is_unfit: is asked about the octets of each leaf.
        trait: what is unfit about them, for the report: ``"8-bit text"``.
    """
    found = fields(header)
    if _is_signed_by_author(found):
        return _kept(header, body, trait, "signed by the author's domain")
    leaves = find_leaves(header, body)
    if isinstance(leaves, MimeFault):
        return _kept(header, body, trait, str(leaves))
    begins = len(header)
    unfit = [
        leaf
        for leaf in leaves
        if is_unfit(body, leaf.body_start - begins, leaf.body_end - begins)
    ]
    reasons = _reasons_to_keep(unfit)
    chosen = [leaf for leaf, reason in zip(unfit, reasons, strict=True) if not reason]
    edits = _report(reasons, trait)
    if not chosen:
        return Reencoded(header, body, edits)
    replacements = []
    if not find(found, b"mime-version"):
        replacements.append((len(header) - 2, len(header) - 2, _VERSION_FIELD))
        edits = (*edits, "added MIME-Version")
    for leaf in chosen:
        replacements += _as_quoted_printable(body, begins, leaf)
    replacements.sort(key=_place)
    middle = sum(start < begins for start, _, _ in replacements)
    return Reencoded(
        _replaced(header, 0, replacements[:middle]),
        _replaced(body, begins, replacements[middle:]),
        edits,
    )


def _replaced(octets: bytes, begins: int, replacements: Sequence[Replacement]) -> bytes:
    """Return ``octets``, the first of which has the offset ``begins``, with replacements.

    They are in their order, do not overlap and lie within the octets.
    """
    view = memoryview(octets)  # what stays is copied once
    pieces: list[bytes | memoryview] = []
    start = 0
    for cut_from, cut_to, instead in replacements:
        pieces += (view[start : cut_from - begins], instead)
        start = cut_to - begins
    pieces.append(view[start:])
    return b"".join(pieces)


def _as_quoted_printable(body: bytes, begins: int, leaf: Leaf) -> list[Replacement]:
    # Without a field of its own the leaf gets one as the last of its header.
    before_empty_line = leaf.body_start - 2
    start, end = leaf.encoding_field or (before_empty_line, before_empty_line)
    text = body[leaf.body_start - begins : leaf.body_end - begins]
    return [
        (start, end, _ENCODING_FIELD),
        (leaf.body_start, leaf.body_end, encode(text)),
    ]


def _place(replacement: Replacement) -> int:
    return replacement[0]


def _reasons_to_keep(leaves: Sequence[Leaf]) -> list[str]:
    """Return why each leaf is left as it is, ``""`` for one that is re-encoded."""
    reasons = []
    room = MAX_TEXT_OCTETS
    for leaf in leaves:
        octets = leaf.body_end - leaf.body_start
        if leaf.cover:
            reasons.append(f"inside {leaf.cover}")
        elif not leaf.is_text:
            reasons.append("not plain text")
        elif octets > room:
            reasons.append("too much text")
        else:
            room -= octets
            reasons.append("")
    return reasons


def _report(reasons: Sequence[str], trait: str) -> tuple[str, ...]:
    if not reasons:
        # What is unfit lies between the parts, where no reader shows it.
        return (f"kept {trait}: outside every part",)
    counts = Counter(reasons)
    return tuple(
        f"kept {trait} in {_parts(count)}: {reason}"
        if reason
        else f"re-encoded as quoted-printable: {trait} in {_parts(count)}"
        for reason, count in counts.items()
    )


def _parts(count: int) -> str:
    return f"{count} part" if count == 1 else f"{count} parts"


def _kept(header: bytes, body: bytes, trait: str, reason: str) -> Reencoded:
    return Reencoded(header, body, (f"kept {trait}: {reason}",))


def _is_signed_by_author(found: Sequence[Field]) -> bool:
    """Whether a DKIM signature is there that vouches for the From domain.

    Relaxed alignment (RFC 7489 §3.1.1), either way up: breaking the signature of
    ``mail.example.com`` hurts mail from ``example.com``.
    """
    author = from_mailbox(found)
    if not isinstance(author, Address):
        return False
    domain = author.domain.encode()
    signatures = find(found, b"dkim-signature")[:_MAX_SIGNATURES]
    signers = [_SIGNING_DOMAIN.search(unfold(each.value)) for each in signatures]
    return any(match and _is_aligned(match[1].lower(), domain) for match in signers)


def _is_aligned(signer: bytes, author: bytes) -> bool:
    return (
        signer == author
        or signer.endswith(b"." + author)
        or author.endswith(b"." + signer)
    )
