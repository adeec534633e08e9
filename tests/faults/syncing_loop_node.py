"""A node that syncs on its event loop: ``syncing_loop_node.py FILE``; a control."""

import os
import tempfile
from typing import Any

from mailwright.cli.main import main
from mailwright.queue.intake import QueueIntake

_accept = QueueIntake.accept
_file = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with the process


async def accept(self: QueueIntake, *given: Any, **named: Any) -> Any:
    """Sync first, where it stops everyone."""
    os.fsync(_file.fileno())
    return await _accept(self, *given, **named)


if __name__ == "__main__":
    import sys

    QueueIntake.accept = accept  # type: ignore[method-assign]
    sys.argv.insert(1, "serve")
    main()
