"""Every command in the documentation is one: it parses, it exists, its file is there."""

import re
import shlex
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mailwright.cli.main import command_line

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = {"", "sh", "bash", "console"}
_CODE = re.compile(r"`(mailwright [^`\n]+)`")
#: What a command line raises that is none.
WRONG = typer.BadParameter.__base__ or Exception
#: What may come before a command's name.
_LEADS = re.compile(r"sudo|exec|-u|\w+=\S*|\$")
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
_REFERRED = re.compile(r"\bmake ([a-z-]+)")


@lru_cache(maxsize=2)
def root(*, is_strict: bool) -> TyperGroup:
    """Return the command line; what is left out is only missed by the strict one."""
    command = get_command(command_line())
    assert isinstance(command, TyperGroup)
    for each in every_command(command):
        for param in each.params:
            # Pages say once that --settings, or its variable, is wanted everywhere.
            param.required &= is_strict and param.name != "settings"
    return command


def every_command(group: TyperGroup) -> Iterator[TyperCommand | TyperGroup]:
    for command in group.commands.values():
        yield command
        if isinstance(command, TyperGroup):
            yield from every_command(command)


def parse(words: list[str], *, is_strict: bool) -> None:
    """Parse the words after ``mailwright``.

    Raises:
        WRONG: they are no command of it.
    """
    command: TyperCommand | TyperGroup = root(is_strict=is_strict)
    words = words[:]
    while isinstance(command, TyperGroup) and words and words != ["--version"]:
        found = command.commands.get(words[0])
        if found is None:
            raise typer.BadParameter(f"{words[0]!r} is no command of {command.name!r}")
        command = found
        words.pop(0)
    if not isinstance(command, TyperGroup):
        command.make_context(command.name, words)


def commands_in_blocks(text: str) -> Iterator[list[str]]:
    """Yield the words after ``mailwright`` of each command in a page's shell blocks."""
    for language, block in _BLOCK.findall(text):
        if language not in _SHELL:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars="&|;<>()")
            lexer.commenters, lexer.whitespace_split = "#", True
            try:
                words = list(lexer)
            except ValueError:  # a part of something that is quoted over lines
                continue
            yield from in_line(words)


def in_line(words: list[str]) -> Iterator[list[str]]:
    simple: list[str] = []
    for word in [*words, ";"]:
        if set(word) - set("&|;<>()") or not word:
            simple.append(word)
            continue
        while simple and _LEADS.fullmatch(simple[0]):
            del simple[: 2 if simple[0] == "-u" else 1]
        if simple and simple[0].rpartition("/")[2] == "mailwright":
            yield simple[1:]
        simple = []


def commands_in_sentences(text: str) -> Iterator[list[str]]:
    """Yield the same of what is named in the text; ``a|b`` is two commands."""
    for code in _CODE.findall(_BLOCK.sub("", text)):
        words = shlex.split(code)[1:]
        for at, word in enumerate(words):
            if "|" in word:
                yield from ([*words[:at], each] for each in word.split("|"))
                break
        else:
            yield [word for word in words if word != "…"]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_a_block_can_be_given(page: Path) -> None:
    for words in commands_in_blocks(page.read_text("utf-8")):
        parse(words, is_strict=True)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_a_sentence_exists(page: Path) -> None:
    for words in commands_in_sentences(page.read_text("utf-8")):
        parse(words, is_strict=False)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text("utf-8")))
    code = re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))
    code += [block for _, block in _BLOCK.findall(page.read_text("utf-8"))]
    assert {name for text in code for name in _REFERRED.findall(text)} <= targets


def test_the_pages_have_commands_to_look_at() -> None:
    texts = [page.read_text("utf-8") for page in PAGES]
    blocks = [words for text in texts for words in commands_in_blocks(text)]
    assert len(blocks) > 30
    assert ["queue", "holds"] in blocks
    assert any("--reason" in words for words in blocks)
    assert sum(1 for text in texts for _ in commands_in_sentences(text)) > 20


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nmailwright queue list --tennant acme\n```\n",
        "```sh\nsudo /opt/mailwright/bin/mailwright queu list\n```\n",
        "```sh\nsudo -u mailwright mailwright dkim generate\n```\n",
        "```console\n$ true && mailwright queue hold --domain example.org\n```\n",
        "```sh\nmailwright config reference > x && mailwright config referenz\n```\n",
        "so say `mailwright queue list|shwo`",
        "so say `mailwright explain --verbose`",
    ],
)
def test_what_is_no_command_is_found(text: str) -> None:
    found = [
        *((words, True) for words in commands_in_blocks(text)),
        *((words, False) for words in commands_in_sentences(text)),
    ]
    words, is_strict = found[-1]
    with pytest.raises(WRONG):
        parse(words, is_strict=is_strict)
