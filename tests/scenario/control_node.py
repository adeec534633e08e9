"""A node that answers before it commits: the ledger must find what it loses.

Everything else of it is the node as it is: ``control_node.py FILE`` runs ``serve``.
"""

import asyncio
import sys

from mailwright.cli.main import main
from mailwright.ids import Kind, format_public
from mailwright.queue.intake import QueueIntake
from mailwright.submission import Accepted, AcceptedRecipient, Submission

_accept = QueueIntake.accept
_later: set[asyncio.Task[Accepted]] = set()


async def accept_first(
    self: QueueIntake, submission: Submission, guards: object = None
) -> Accepted:
    """Say that it is taken, then take it."""
    task = asyncio.create_task(_accept(self, submission))
    _later.add(task)
    task.add_done_callback(_later.discard)
    at = submission.accepted_at
    # No client of the scenario looks at the ids.
    return Accepted(
        format_public(Kind.MESSAGE, at, 1),
        [
            AcceptedRecipient(
                format_public(Kind.DELIVERY, at, 1),
                recipient.address.canonical,
                is_suppressed=False,
            )
            for recipient in submission.envelope.recipients
        ],
    )


QueueIntake.accept = accept_first  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
