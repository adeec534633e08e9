"""Each claim of SECURITY.md names tests that guard it, and each of them is there."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_PATH = re.compile(r"tests/[\w./]*")
_SECTION = re.compile(r"^### Claims.*?\n(?=^### )", re.MULTILINE | re.DOTALL)
_CLAIM = re.compile(r"^\* .*?(?=^\* |^$)", re.MULTILINE | re.DOTALL)


@lru_cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests of a module, without importing it; none if it is not there."""
    module = ROOT / path
    if not module.exists():
        return frozenset()
    tree = ast.parse(module.read_text("utf-8"))
    return frozenset(
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def missing(page: str) -> list[str]:
    """Return the tests that a page names and that are not there."""
    return [
        f"{path}::{name}"
        for path, name in _TEST.findall(page)
        if name not in names_in(path)
    ]


def claims(page: str) -> Iterator[str]:
    section = _SECTION.search(page)
    assert section is not None
    yield from _CLAIM.findall(section[0])


def test_every_test_that_is_named_is_there() -> None:
    assert missing(PAGE) == []


def test_every_claim_names_a_test() -> None:
    found = list(claims(PAGE))
    assert len(found) >= 30
    assert [claim for claim in found if not _TEST.search(claim)] == []


def test_no_test_is_named_in_a_form_that_is_not_looked_for() -> None:
    assert len(_PATH.findall(PAGE)) == len(_TEST.findall(PAGE))


def test_a_name_that_is_wrong_is_found() -> None:
    wrong = PAGE.replace("::test_no_variant_of_the_end", "::test_some_variant", 1)
    assert len(missing(wrong)) == 1
    gone = PAGE.replace("tests/unit/queue/test_pace.py", "tests/unit/queue/gone.py")
    assert len(missing(gone)) == 1
    unguarded = PAGE.replace("### Claims", "### Claims\n\n* Nothing guards this.\n\n")
    assert any(not _TEST.search(claim) for claim in claims(unguarded))
