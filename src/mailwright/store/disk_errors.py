"""What the system says about a disk, as what a caller can answer."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mailwright.store.ports import StoreError, StoreFailedError, StoreFullError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a store's error; paths stay inside.

    Raises:
        StoreFullError: no room.
        StoreFailedError: the disk failed; it must not be written to any more.
        StoreError: the system refused for another reason.
    """
    try:
        yield
    except OSError as error:
        text = f"{doing}: {error.strerror}"
        if error.errno in _FULL:
            raise StoreFullError(text) from error
        if error.errno in {errno.EIO, errno.EROFS}:
            raise StoreFailedError(text) from error
        raise StoreError(text) from error
