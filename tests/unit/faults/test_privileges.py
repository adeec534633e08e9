"""What is skipped where a machine does not let tests do what they need."""

import re
from pathlib import Path

import pytest

from fakes import privileges

TESTS = Path(__file__).parents[2]


def test_what_no_shell_can_do_is_told_in_its_words() -> None:
    assert privileges._said("true") == ""
    assert privileges._said("echo no room >&2; exit 3") == "no room"
    assert privileges._said("exit 3") == "exit status 3"


def test_a_need_that_is_not_met_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_said", lambda _command: "not permitted")
    monkeypatch.setattr(privileges.os, "geteuid", lambda: 1000)
    for need in ("root", "mounts", "loops", "tracing", "confinement", "users"):
        assert privileges._PROBES[need]()


def test_every_need_that_a_test_names_can_be_probed() -> None:
    named = set()
    for path in TESTS.rglob("test_*.py"):
        for found in re.findall(r"mark\.needs\(([^)]*)\)", path.read_text("utf-8")):
            named |= set(re.findall(r'"([^"]+)"', found))
    assert named, "no test needs anything?"
    assert named <= privileges.NEEDS
