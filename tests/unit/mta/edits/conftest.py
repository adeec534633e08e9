"""Says whether the mails of the corpus were tried, so that nobody takes it for granted."""

import os

import pytest

CORPUS = "MAILWRIGHT_CORPUS"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if os.environ.get(CORPUS):
        return
    dropped = [item for item in items if item.path.name == "test_corpus.py"]
    if dropped:
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    corpus = os.environ.get(CORPUS)
    said = f"the mails in {corpus} were tried" if corpus else f"not run: set {CORPUS}"
    terminalreporter.write_line(f"corpus of real mail: {said}")
