"""Unix sockets: what the operator's is called, and names that fit into an address."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: The operator's door, in the state folder.
SOCKET_NAME: Final = "operator.sock"
_MAX_SOCKET_PATH: Final = 107


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a name for the socket ``path`` that fits into an address.

    An address holds 107 octets (unix(7)), and a folder's path may be longer.
    """
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
