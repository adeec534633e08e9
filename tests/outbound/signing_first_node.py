"""A node that signs what is stored and edits it afterwards: a control.

``signing_first_node.py FILE`` runs ``serve``; everything else of it is the node.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from mailwright.attempt import Parcel
from mailwright.cli.main import main
from mailwright.mta.edits.session import edit_for_receiver
from mailwright.mta.preparing import Prepared, Preparer
from mailwright.reply import Reply

_prepare = Preparer.prepare


def prepare(
    self: Preparer, parcels: Sequence[Parcel], *, has_8bitmime: bool
) -> list[Prepared | Reply]:
    """Sign for a receiver that takes everything; edit for the one that is there."""
    prepared = _prepare(self, parcels, has_8bitmime=True)
    return [
        each if isinstance(each, Reply) else _edited(each, parcel, has_8bitmime)
        for each, parcel in zip(prepared, parcels, strict=True)
    ]


def _edited(done: Prepared, parcel: Parcel, has_8bitmime: bool) -> Prepared:
    signature = done.header.removesuffix(parcel.header)
    header, body, edits = edit_for_receiver(
        parcel.header, parcel.body, has_8bitmime=has_8bitmime
    )
    return replace(done, header=signature + header, body=body, edits=edits)


Preparer.prepare = prepare  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
