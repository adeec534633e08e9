"""A node that forgets from which source a delivery was first tried: a control.

Everything else of it is the node as it is: ``forgetful_node.py FILE`` runs ``serve``.
"""

import sys
from dataclasses import replace

from mailwright.cli.main import main
from mailwright.queue import claims
from mailwright.queue.claimed import Claimed, claimed_of
from mailwright.queue.line import Line
from mailwright.store.statements import Row


def unbound(line: Line, row: Row) -> Claimed:
    """Return a row's delivery as if any source would do."""
    return replace(claimed_of(line, row), source=None)


claims.claimed_of = unbound
sys.argv.insert(1, "serve")
main()
