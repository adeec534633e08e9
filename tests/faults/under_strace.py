"""Run a node under strace: ``under_strace.py OPTIONS… -- COMMAND… FILE``.

The tracer is a child of the node (``-D``), so whoever started this has the node itself
and can signal it.
"""

import os
import sys
from collections.abc import Sequence


def under_strace(*options: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return what the interpreter is told to run ``command`` under strace."""
    return (__file__, *options, "--", *command)


if __name__ == "__main__":
    split = sys.argv.index("--")
    arguments = ["strace", "-D", "-f", "--seccomp-bpf", *sys.argv[1:split]]
    os.execvp("strace", [*arguments, sys.executable, *sys.argv[split + 1 :]])  # noqa: S606
