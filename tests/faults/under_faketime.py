"""Run a node whose wall clock a file sets: ``under_faketime.py OFFSETS COMMAND… FILE``.

OFFSETS holds the seconds, with their sign, by which its clock is ahead, and may change
at any time. Steady time goes on as it is. (libfaketime, the Debian package.)
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_LIBRARY = "libfaketimeMT.so.1"


def under_faketime(offsets: Path, command: Sequence[str]) -> tuple[str, ...]:
    """Return what the interpreter is told to run ``command`` with such a clock."""
    return (__file__, str(offsets), *command)


def library() -> Path:
    """Return where the library is."""
    return next(Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}"))


if __name__ == "__main__":
    os.environ |= {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": sys.argv[1],
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # The offset is of the clock, not of what it stamps on files.
        "NO_FAKE_STAT": "1",
    }
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606
