"""``mailwright demo`` as a process, and controls that must make it fail.

The controls run the same command after a line of Python has made the sandbox's inbox lie:
the demo has to notice, or its zeros would mean nothing.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.scenario

KEYS = [
    "accepted",
    "delivered",
    "bounced",
    "expired",
    "suppressed",
    "cancelled",
    "queued",
    "lost",
    "duplicates",
    "dkim_verified",
    "seconds",
]
START = "from mailwright.cli.main import main; main()"


def start_demo(folder: Path, *options: str, before: str = "") -> subprocess.Popen[str]:
    """Start the command, ``before`` having run in its process."""
    script = folder / "demo_script.py"
    # The verifying process imports the script too, so the command has its guard.
    script.write_text(f"{before}\nif __name__ == '__main__':\n    {START}\n")
    return subprocess.Popen(
        [sys.executable, str(script), "demo", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def run_demo(
    folder: Path, *options: str, before: str = ""
) -> tuple[int, dict[str, Any], str]:
    """Return exit status, the object on the last line, and standard error."""
    with start_demo(folder, *options, before=before) as process:
        out, told = process.communicate(timeout=900)
    return process.returncode, last_object(out), told


def last_object(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.splitlines()[-1]) if out else {}
    return found


def test_the_demo_accounts_for_every_delivery(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    status, found, told = run_demo(tmp_path, "--recipients", "60", "--keep", str(kept))
    assert status == 0, told
    assert list(found) == KEYS
    assert found["accepted"] == 60
    assert " by a campaign: " in " ".join(told.split())
    assert found["accepted"] == sum(found[key] for key in KEYS[1:7])
    assert found["queued"] == found["cancelled"] == 0
    assert found["lost"] == found["duplicates"] == 0
    assert found["dkim_verified"] == found["delivered"]
    # The cast has all of these among its first fifteen.
    assert min(found[key] for key in ("bounced", "expired", "suppressed")) > 0
    assert found["delivered"] > 30
    for name in ("node.toml", "setup.toml", "node.log", "state/mailwright.db"):
        assert (kept / name).stat().st_size > 0
    assert "Traceback" not in (kept / "node.log").read_text()
    assert not list(tmp_path.glob("mailwright-demo-*"))


LOSE = """
from mailwright.sandbox.inbox import Inbox
take, seen = Inbox.take, []
def forget_the_second(self, letter, content):
    seen.append(letter)
    if len(seen) != 2:
        take(self, letter, content)
Inbox.take = forget_the_second
"""
COPY = """
from dataclasses import replace
from mailwright.sandbox.inbox import Inbox
take, seen = Inbox.take, []
def take_the_second_twice(self, letter, content):
    seen.append(letter)
    take(self, letter, content)
    if len(seen) == 2:
        take(self, replace(letter), content)
Inbox.take = take_the_second_twice
"""
SPOIL = """
from mailwright.sandbox.inbox import Inbox
take, seen = Inbox.take, []
def spoil_the_second(self, letter, content):
    seen.append(letter)
    take(self, letter, content + b"P.S.\\r\\n" if len(seen) == 2 else content)
Inbox.take = spoil_the_second
"""


@pytest.mark.parametrize(
    ("before", "key", "expected"),
    [
        pytest.param(LOSE, "lost", 1, id="a receiver hides what it took"),
        pytest.param(COPY, "duplicates", 1, id="a receiver takes a message twice"),
        pytest.param(SPOIL, "dkim_verified", 4, id="a message is changed on its way"),
    ],
)
def test_the_demo_fails_when_books_differ(
    tmp_path: Path, before: str, key: str, expected: int
) -> None:
    # Five recipients are the five domains that take everything at once.
    status, found, told = run_demo(tmp_path, "--recipients", "5", before=before)
    assert status == 1
    assert found["accepted"] == found["delivered"] == 5
    assert found[key] == expected
    assert "Something is wrong" in told
    # What is needed to find out why is kept.
    assert list(tmp_path.glob("mailwright-demo-*/node.log"))


FORGET_A_ROW = """
from mailwright.sandbox.demo.job import Job
rows = Job.rows
Job.rows = lambda self: [each for at, each in enumerate(rows(self)) if at != 1]
"""


def test_the_demo_fails_when_a_row_of_the_campaign_is_missing(tmp_path: Path) -> None:
    status, _, told = run_demo(tmp_path, "--recipients", "60", before=FORGET_A_ROW)
    assert status == 1
    assert "campaign: rows are " in told
    assert " got no delivery" in told
    assert "Something is wrong" in told


def test_a_demo_that_takes_too_long_ends_with_what_is_queued(tmp_path: Path) -> None:
    before = "from mailwright.cli import rehearsing; rehearsing.limit_s = lambda n: 1.0"
    status, found, told = run_demo(tmp_path, "--recipients", "20", before=before)
    assert status == 1
    assert found["queued"] > 0
    assert found["accepted"] == sum(found[key] for key in KEYS[1:7])
    assert "Not done after 1 s" in told


def test_an_interrupted_demo_stops_in_order_and_tells_how_far_it_came(
    tmp_path: Path,
) -> None:
    with start_demo(tmp_path, "--recipients", "300") as process:
        assert process.stderr is not None
        while "messages" not in process.stderr.readline():  # then it is under way
            pass
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=300)
    found = last_object(out)
    assert process.returncode == 130, told
    assert found["accepted"] < 300
    assert found["accepted"] == sum(found[key] for key in KEYS[1:7])
    assert found["lost"] == found["duplicates"] == 0
    assert not list(tmp_path.glob("mailwright-demo-*"))


@pytest.mark.parametrize("count", ["0", "100001", "many"])
def test_a_number_of_recipients_that_cannot_be_is_refused(
    tmp_path: Path, count: str
) -> None:
    status, found, _ = run_demo(tmp_path, "--recipients", count)
    assert status == 2
    assert not found


def test_a_folder_with_something_in_it_is_not_used(tmp_path: Path) -> None:
    status, _, told = run_demo(tmp_path, "--keep", str(tmp_path))
    assert status == 2
    assert "is not empty" in told
    assert not (tmp_path / "node.toml").exists()
