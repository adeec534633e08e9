"""The second phase: what is edited for the receiver that a session speaks to.

A pure function of stored octets and of what the receiver offers, so that a retry sends
the same octets. Place (4), List-Unsubscribe, comes before re-encoding; signing, after.
"""

from mailwright.message import PIECE_OCTETS
from mailwright.mta.edits.reencoding import reencode_text


def edit_for_receiver(
    header: bytes, body: bytes, *, has_8bitmime: bool
) -> tuple[bytes, bytes, tuple[str, ...]]:
    """Return header, body and the report of edits for one receiver.

    Text with 8-bit octets is re-encoded when the receiver does not take them
    (RFC 6152 §3). What cannot be re-encoded goes as it is, and the report says so; 8-bit
    octets in fields are left.

    Cost: nothing for a receiver with 8BITMIME or an ASCII body.
    """
    if has_8bitmime or body.isascii():
        return header, body, ()
    changed = reencode_text(header, body, is_unfit=_has_8bit, trait="8-bit text")
    return changed.header, changed.body, changed.edits


def _has_8bit(octets: bytes, start: int, end: int) -> bool:
    return not all(
        octets[at : min(at + PIECE_OCTETS, end)].isascii()
        for at in range(start, end, PIECE_OCTETS)
    )
