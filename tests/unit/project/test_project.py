"""The project itself: links, citations, names, and where things lie."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")
_CITATION = re.compile(r"RFC (\d{4})")


def test_our_queue_does_not_shadow_the_standard_one() -> None:
    code = (
        "import runpy, sys; sys.argv = ['mailwright', '--version']\n"
        "try: runpy.run_module('mailwright', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import queue; assert 'SimpleQueue' in dir(queue)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"mailwright \d+\.\d+\.\d+\n", done.stdout)


def test_no_folder_of_tests_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = [
        target
        for target in _LINK.findall(page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_every_citation_is_in_the_list_of_standards_and_the_other_way_round() -> None:
    standards = tomllib.loads((ROOT / "docs/standards.toml").read_text("utf-8"))
    cited = {
        f"rfc{number}"
        for source in SOURCES
        for number in _CITATION.findall(source.read_text("utf-8"))
    }
    assert cited == set(standards)
    for entry in standards.values():
        assert entry["title"]
        assert entry["status"] in {"yes", "partial", "no"}
        for place in filter(None, entry["where"].split(", ")):
            assert (ROOT / "src/mailwright" / place).exists(), place


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(source.relative_to(ROOT))
        for source in SOURCES
        if not source.read_text("utf-8").startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_every_room_has_a_charter_and_no_code_in_it() -> None:
    for room in (ROOT / "src/mailwright").rglob("__init__.py"):
        if room.parent.name == "mailwright":
            continue
        text = room.read_text("utf-8")
        assert text.count('"""') == 2, room
        assert text.rstrip().endswith('"""'), room
