"""In processes of their own: what is set holds for the whole of one, and for good."""

import os
import platform
import subprocess
import sys

import pytest

#: Frees a large block, as the first message does; then takes some, each with a small one
#: behind it, and frees all but the small ones. Prints how much is still there.
_WORK = """
import sys
from mailwright.large_blocks import give_back_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * {page}

if sys.argv[1] == "set":
    assert give_back_large_blocks()
first = b"x" * 24_000_000
del first
before = resident()
large, small = [], []
for _ in range(5):
    large.append(b"y" * 12_000_000)
    small.append(bytearray(100_000))
del large
print(resident() - before - 500_000)
"""

#: Takes many small blocks amid few that stay, and frees the many. Prints as above.
_SMALL_WORK = """
import sys
from mailwright.large_blocks import give_back_free_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * {page}

before = resident()
blocks = [bytearray(10_000) for _ in range(3_000)]
kept = blocks[::100]
del blocks
if sys.argv[1] == "give back":
    assert give_back_free_blocks()
print(resident() - before)
"""


def kept(how: str, work: str = _WORK) -> int:
    """Return the octets that a process keeps after its blocks are free."""
    work = work.format(page=os.sysconf("SC_PAGESIZE"))
    done = subprocess.run(
        [sys.executable, "-c", work, how], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library has other habits"
)


def test_what_was_large_is_given_back_and_is_kept_without_it() -> None:
    assert kept("set") < 5_000_000
    assert kept("not set") > 30_000_000  # the control


def test_what_is_free_amid_what_is_not_is_given_back_and_is_kept_without_it() -> None:
    assert kept("give back", _SMALL_WORK) < 5_000_000
    assert kept("do not", _SMALL_WORK) > 20_000_000  # the control
