"""A node that shows a message to any tenant who knows its id: a control.

Everything else of it is the node as it is: ``leaky_node.py FILE`` runs ``serve``.
"""

import sys

from mailwright.api.ports import MessageRecord
from mailwright.cli.main import main
from mailwright.daemon.reading import NodeReading
from mailwright.ids import PublicId, TenantId

_message = NodeReading.message


async def show_anyones(
    self: NodeReading, _tenant: TenantId, ident: PublicId
) -> MessageRecord | None:
    """Return a message, whoever asks."""
    for tenant in self._directory().tenants:
        found = await _message(self, tenant, ident)
        if found is not None:
            return found
    return None


NodeReading.message = show_anyones  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
