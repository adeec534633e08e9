"""Large blocks of memory go back to the system as soon as they are free.

The GNU C library gives a large block pages of its own, until the first of them is freed:
from then on blocks up to that size (32 MB at most) come from its heap, where the small
ones that are made between them keep them from being given back. A few large messages one
after another then cost as much as all of them at once. Here the bound stays where it is.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

#: Blocks of so many octets have pages of their own. To get these is dear, so blocks as
#: common mail needs them are not among them.
LARGE_OCTETS: Final = 1 << 20
#: What the heap may keep at its end; to let go of less is a system call too often.
KEPT_OCTETS: Final = 4 << 20
# mallopt(3)
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def give_back_large_blocks() -> bool:
    """Set the bounds for this process; false where the C library knows none.

    Call it at the start: what was allocated before stays as it is.
    """
    bounds = ((_M_MMAP_THRESHOLD, LARGE_OCTETS), (_M_TRIM_THRESHOLD, KEPT_OCTETS))
    return all(_call("mallopt", name, octets) for name, octets in bounds)


def give_back_free_blocks() -> bool:
    """Give the system back what is free amid the heaps; false where that is unknown.

    Takes some milliseconds for each hundred megabytes, in which nothing is allocated.
    """
    return bool(_call("malloc_trim", 0))


def _call(name: str, *args: int) -> int:
    """Return what the C library's ``name`` answers; 0 where it has none."""
    try:
        # Imported here: where a process may have no executable memory of its own, this
        # fails with some releases of libffi, and the node must run without it.
        import ctypes  # noqa: PLC0415

        function = getattr(ctypes.CDLL(None), name)
    except (ImportError, OSError, AttributeError, MemoryError) as error:
        logger.info("large blocks of memory are left to the C library: %s", error)
        return 0
    return int(function(*args))
