"""A command that asks a node starts at once: it does not load what a node is made of."""

import subprocess
import sys

import pytest

#: What takes most of the time; each takes more than all that a command needs.
HEAVY = {"fastapi", "sqlalchemy", "uvicorn", "mailwright.daemon", "mailwright.mta"}
_LOADED = """
import sys
from mailwright.cli.main import command_line
command_line([{!r}])
print(*sys.modules)
"""


def loaded_by(command: str) -> set[str]:
    """Return the modules that are loaded when ``command`` is about to run."""
    words = [sys.executable, "-c", _LOADED.format(command)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "command", ["stop-all", "release-all", "explain", "clock", "campaign"]
)
def test_a_command_that_asks_loads_nothing_that_serves(command: str) -> None:
    assert not loaded_by(command) & HEAVY


def test_a_command_that_is_a_node_loads_it() -> None:
    assert loaded_by("serve") >= HEAVY  # the control: names that are none prove nothing
