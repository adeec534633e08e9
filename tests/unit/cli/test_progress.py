"""The bar of commands that take a while: on a terminal, and where nobody looks."""

import re

import pytest

from mailwright.cli.progress import bar

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_a_terminal_gets_a_bar_that_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with bar("uploading") as report:
        report(0, None)
        report(1_500, 3_000)
    told = capsys.readouterr()
    assert told.out == "", "standard output is for results"
    lines = re.split(r"[\r\n]", _ESCAPES.sub("", told.err))
    assert any(
        line.startswith("uploading") and "1,500 / 3,000" in line for line in lines
    )
    assert max(map(len, lines)) <= 80
    assert told.err.rstrip().endswith("\x1b[2K"), "it is erased"


def test_a_file_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with bar("uploading", total=3) as report:
        report(1, 3)
    assert capsys.readouterr() == ("", "")
