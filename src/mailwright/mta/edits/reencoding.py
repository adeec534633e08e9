"""Text leaves as quoted-printable, where nothing that covers them forbids it.

Only the leaf's octets and its Content-Transfer-Encoding field change; MIME-Version is
added to a message without it, since the field means nothing there (RFC 2045 §4).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailwright.address import Address
from mailwright.message import Field, fields, find, from_mailbox, unfold
from mailwright.mta.edits.mime import Leaf, MimeFault, find_leaves
from mailwright.mta.edits.quoted_printable import encode

_ENCODING_FIELD: Final = b"Content-Transfer-Encoding: quoted-printable\r\n"
_VERSION_FIELD: Final = b"MIME-Version: 1.0\r\n"
_SIGNING_DOMAIN: Final = re.compile(rb"(?:\A|;)[ \t]*+d[ \t]*+=[ \t]*+([^;\s]++)")
_MAX_SIGNATURES: Final = 50

#: (from, to, octets in place of them), in the octets of the whole message.
Replacement = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Reencoded:
    """A message after re-encoding, and one text for each kind of thing done or left."""

    header: bytes
    body: bytes
    edits: tuple[str, ...]


def reencode_text(
    header: bytes, body: bytes, *, is_unfit: Callable[[bytes], bool], trait: str
) -> Reencoded:
    """Return the message with its unfit text leaves as quoted-printable.

    Args:
        header: header section with its final empty line.
        body: the body.
        is_unfit: whether a leaf's octets must not stay as they are.
        trait: what is unfit about them, for the report: ``"8-bit text"``.
    """
    found = fields(header)
    if _is_signed_by_author(found):
        return _kept(header, body, trait, "signed by the author's domain")
    content = header + body
    leaves = find_leaves(content, len(header))
    if isinstance(leaves, MimeFault):
        return _kept(header, body, trait, str(leaves))
    unfit = [
        leaf for leaf in leaves if is_unfit(content[leaf.body_start : leaf.body_end])
    ]
    chosen = [leaf for leaf in unfit if not _reason_to_keep(leaf)]
    edits = _report(unfit, trait)
    if not chosen:
        return Reencoded(header, body, edits)
    replacements = []
    if not find(found, b"mime-version"):
        replacements.append((len(header) - 2, len(header) - 2, _VERSION_FIELD))
        edits = (*edits, "added MIME-Version")
    for leaf in chosen:
        replacements += _as_quoted_printable(content, leaf)
    replacements.sort(key=_place)
    middle = sum(start < len(header) for start, _, _ in replacements)
    return Reencoded(
        replace(content, replacements[:middle], 0, len(header)),
        replace(content, replacements[middle:], len(header), len(content)),
        edits,
    )


def replace(
    octets: bytes, replacements: Sequence[Replacement], start: int, end: int
) -> bytes:
    """Return ``octets[start:end]`` with ``replacements`` made.

    They are in their order, do not overlap and lie within the range.
    """
    pieces: list[bytes] = []
    for cut_from, cut_to, instead in replacements:
        pieces += (octets[start:cut_from], instead)
        start = cut_to
    pieces.append(octets[start:end])
    return b"".join(pieces)


def _as_quoted_printable(content: bytes, leaf: Leaf) -> list[Replacement]:
    # Without a field of its own the leaf gets one as the last of its header.
    before_empty_line = leaf.body_start - 2
    start, end = leaf.encoding_field or (before_empty_line, before_empty_line)
    text = content[leaf.body_start : leaf.body_end]
    return [
        (start, end, _ENCODING_FIELD),
        (leaf.body_start, leaf.body_end, encode(text)),
    ]


def _place(replacement: Replacement) -> int:
    return replacement[0]


def _reason_to_keep(leaf: Leaf) -> str:
    if leaf.cover:
        return f"inside {leaf.cover}"
    return "" if leaf.is_text else "not plain text"


def _report(unfit: Sequence[Leaf], trait: str) -> tuple[str, ...]:
    if not unfit:
        # What is unfit lies between the parts, where no reader shows it.
        return (f"kept {trait}: outside every part",)
    counts = Counter(_reason_to_keep(leaf) for leaf in unfit)
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
