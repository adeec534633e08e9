"""A node that leaves out a sync: ``unsynced_node.py WHAT FILE``; a control.

``wal``: commits do not wait for the disk (``synchronous=NORMAL``, common advice);
``off``: nothing of the database is synced; ``body``: files of bodies are not;
``folder``: the folders that name them are not; ``names``: nor are those that name
folders.
"""

import os
import stat
import sys
from typing import Any

from mailwright.cli.main import main
from mailwright.store import bodies, folders, sqlite

_fsync = os.fsync


def _fsync_but(leave_out: Any) -> Any:
    def fsync(descriptor: int) -> None:
        if not leave_out(os.fstat(descriptor).st_mode):
            _fsync(descriptor)

    return fsync


if __name__ == "__main__":
    what = sys.argv.pop(1)
    if what in {"wal", "off"}:
        sqlite.WRITER_PRAGMAS["synchronous"] = int(what == "wal")  # type: ignore[index]
    elif what == "body":
        bodies.os.fsync = _fsync_but(stat.S_ISREG)  # type: ignore[attr-defined]
    elif what == "folder":
        bodies.sync_folder = lambda _folder: None
    elif what == "names":
        folders.sync_folder = lambda _folder: None
    sys.argv.insert(1, "serve")
    main()
