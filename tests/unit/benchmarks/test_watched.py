"""What a process that is watched from outside takes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import watched

_OCTETS = 60_000_000
#: Takes memory, says so, and lasts until its input ends.
_HEAVY = f"x = b'x' * {_OCTETS}; print('ready', flush=True); input()"
#: Takes none; its process does.
_PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_HEAVY!r}])
"""


@contextmanager
def running(work: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", work],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.stdin.write("\n")
            process.stdin.flush()


def test_the_memory_of_a_process_that_the_node_has_started_counts() -> None:
    with running(_PARENT) as pid:
        alone_mb, _ = watched.rss_mb(pid)
        together_mb, most_mb = watched.rss_with_processes_mb(pid)
    assert alone_mb * 1e6 < _OCTETS
    assert _OCTETS < together_mb * 1e6 - alone_mb * 1e6 < 2 * _OCTETS
    assert most_mb >= together_mb


def test_a_process_without_others_counts_by_itself() -> None:
    with running(_HEAVY) as pid:
        assert watched.rss_mb(pid) == watched.rss_with_processes_mb(pid)
