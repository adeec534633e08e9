"""The page about templates is true: its examples run, its lists are complete."""

import json
import re
from pathlib import Path

import pytest

from fakes.campaign_contents import ANN, DATED, merge_of, part_of, read, rendered
from mailwright.mta.compose import lint
from mailwright.mta.compose.content import to_json
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import compile_content, render
from mailwright.mta.compose.template import FILTERS, FUNCTIONS

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/reference/templates.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"```jinja\n(.*?)```\n\nwith `(\{.*?\})` says\n\n```text\n(.*?)```", PAGE, re.DOTALL
)


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```jinja") == 2


@pytest.mark.parametrize("number", range(2))
def test_an_example_says_what_the_page_says(number: int) -> None:
    template, fields, text = EXAMPLES[number]
    message = read(
        rendered(json.loads(fields), subject="s", text=template, strict=True)
    )
    assert part_of(message, "plain") == text


def test_the_content_of_the_page_is_one() -> None:
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    content = parse_content(example.encode())
    assert parse_content(to_json(content)) == content
    compiled = compile_content(content)
    fields = {"token": "t1", "city": "Köln"}
    message = read(render(compiled, merge_of(fields), dated_at=DATED))
    assert message["From"] == "The Shop in Köln <news@shop.example>"
    assert message["To"] == f"customer <{ANN}>"
    assert message["Subject"] == "customer, it is spring"
    assert message["List-Unsubscribe"] == "<https://shop.example/u/t1>"
    assert "utm_source=newsletter&utm_content=K%C3%B6ln" in part_of(message, "plain")


def test_the_page_lists_what_may_be_called() -> None:
    [listed] = re.findall(r"Filters: (.*?)Functions: (.*?)Tags:", PAGE, re.DOTALL)
    filters, functions = (set(re.findall(r"`(\w+)`", each)) for each in listed)
    assert filters == FILTERS
    assert functions == FUNCTIONS


def test_the_page_lists_every_finding() -> None:
    source = Path(lint.__file__).read_text(encoding="utf-8")
    codes = set(
        re.findall(r'"((?:not|missing|subject|unsubscribe|link|image)_\w+)"', source)
    ) | set(re.findall(r'"((?:element|html|text|message)_\w+)"', source))
    table = PAGE[PAGE.index("| code |") :]
    assert set(re.findall(r"`(\w+_\w+)`", table)) == codes
