"""Every known-bad node still changes what it says: what it patches is where it looks."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parents[2]
#: What those are told that take more than a file.
ARGUMENTS = {
    "crashing_node.py": ["before-commit", "1"],
    "unsynced_node.py": ["wal"],
}
#: Runs each control as far as the help of ``serve``, in a child of one warm process.
RUNNER = """
import json, os, runpy, sys
from mailwright.cli import main, serve  # what all of them load
found = {}
for path, more in json.loads(sys.argv[1]):
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.dup2(writing, 1), os.dup2(writing, 2)
        sys.path.insert(0, os.path.dirname(path))
        sys.argv = [path, *more, "--help"]
        runpy.run_path(path, run_name="__main__")
        os._exit(99)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    found[path] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text[-2000:]
print(json.dumps(found))
"""


STALE = """
from mailwright.queue import connections
assert connections.NOTHING_OF_THAT_NAME
"""


def ends_of(controls: Sequence[Path]) -> dict[str, tuple[int, str]]:
    """Return status and last words of each."""
    wanted = [(str(path), ARGUMENTS.get(path.name, [])) for path in controls]
    places = [str(TESTS), str(TESTS.parent / "benchmarks"), os.getenv("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(wanted)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    found: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return found


def test_every_control_begins_to_serve_and_a_stale_one_does_not(tmp_path: Path) -> None:
    controls = [
        path
        for folder in ("scenario", "faults", "outbound")
        for path in sorted((TESTS / folder).glob("*_node.py"))
        if not path.name.startswith("test_")
    ]
    assert len(controls) > 15
    stale = tmp_path / "stale_node.py"
    stale.write_text(STALE)
    bad = {path: said for path, said in ends_of([*controls, stale]).items() if said[0]}
    assert bad.keys() == {str(stale)}, bad
