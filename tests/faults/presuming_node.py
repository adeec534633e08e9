"""A node that takes what a dead process had in hand for delivered: a control.

Usage: ``presuming_node.py FILE``.
"""

import sys

from mailwright.attempt import End
from mailwright.cli.main import main
from mailwright.mta.sessions.remote import RemoteSession
from mailwright.reply import Phase, Reply

_TAKEN = Reply(250, "2.0.0", "surely taken", Phase.DOT)


def orphan(self: RemoteSession) -> None:
    """End all that is in hand well."""
    parcels, self._parcels = self._parcels, {}
    for parcel in parcels.values():
        self._end(parcel, End.REPLIED, _TAKEN, ())


RemoteSession.orphan = orphan  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
