"""The log: one record is one record, whatever a peer says, and no secret is in it."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.config.node import LogFormat, LogLevel, LogSettings
from mailwright.daemon.log import set_level, start_logging

#: Where some reader or terminal begins another line, or is led astray.
ATTACKS = [
    "\r\n",
    "\n2026-01-01T00:00:00.000Z info daemon.lifecycle: node evil runs",
    "\r2026-01-01T00:00:00.000Z critical store.writer: the disk failed",
    "\x1b[2K\x1b[1A\x1b]0;title\x07",
    "\u2028forged\u2029forged",
    "\x85\x0b\x0c\x1c\x1d\x1e",
    "\x00\x08\x08\x08",
    '"}\n{"at": "2026-01-01T00:00:00.000Z", "message": "forged"}',
    "\u202egnp.exe\u2066\u200f\u061c",
    "\x9b31m\x7f",
    "\ud800 lone",
    "%s %d {}",
]
_RECORD = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error|critical) [\w.]+: "
)
_SAFE = re.compile(
    r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]*"
)


@pytest.fixture
def restored() -> Iterator[None]:
    """Give the process its logging back."""
    names = ("", "mailwright", "mail")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers[:], each.level) for each in loggers]
    yield
    for each, (handlers, level) in zip(loggers, before, strict=True):
        each.handlers[:] = handlers
        each.setLevel(level)


Written = Callable[[LogFormat, Callable[[logging.Logger], None]], str]


@pytest.fixture
def written(restored: None, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Return what a logger of ours writes to standard error."""

    def run(format_: LogFormat, body: Callable[[logging.Logger], None]) -> str:
        # As a process has it: what has no UTF-8 is escaped.
        stream = io.TextIOWrapper(
            io.BytesIO(), "utf-8", errors="backslashreplace", newline=""
        )
        monkeypatch.setattr(sys, "stderr", stream)
        start_logging(LogSettings(level=LogLevel.DEBUG, format=format_))
        body(logging.getLogger("mailwright.mta.test"))
        stream.flush()
        return stream.buffer.getvalue().decode()

    return run


def fail(text: str) -> None:
    raise ValueError(text)


def raise_and_log(logger: logging.Logger, text: str) -> None:
    try:
        fail(text)
    except ValueError:
        logger.exception("broke: %s", text)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_has_one_line_for_each_record(written: Written, attack: str) -> None:
    text = written(LogFormat.TEXT, lambda logger: logger.info("said %s!", attack))
    assert text.endswith("!\n")
    assert _RECORD.match(text)
    assert _SAFE.fullmatch(text[:-1])


@pytest.mark.parametrize("attack", ATTACKS)
def test_json_has_one_object_for_each_record(written: Written, attack: str) -> None:
    text = written(LogFormat.JSON, lambda logger: logger.info("said %s!", attack))
    [line] = text.splitlines()
    found = json.loads(line)
    assert set(found) == {"at", "level", "room", "message"}
    assert found["message"].endswith("!")
    assert (found["level"], found["room"]) == ("info", "mta.test")
    datetime.fromisoformat(found["at"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_text_of_an_exception_cannot_begin_a_record(
    written: Written, attack: str
) -> None:
    text = written(LogFormat.TEXT, lambda logger: raise_and_log(logger, attack))
    first, *further = text.splitlines()
    assert _RECORD.match(first)
    assert further
    assert all(line.startswith("    ") and _SAFE.fullmatch(line) for line in further)
    text = written(LogFormat.JSON, lambda logger: raise_and_log(logger, attack))
    [line] = text.splitlines()
    assert "Traceback" in json.loads(line)["message"]


@given(st.text())
def test_no_text_at_all_makes_a_second_line(text: str) -> None:
    from mailwright.daemon import log

    record = logging.LogRecord("mailwright.x", 20, "", 0, "%s", (text,), None)
    assert _SAFE.fullmatch(log._TextFormatter().format(record))
    assert len(log._JsonFormatter().format(record).splitlines()) == 1


def test_a_long_message_loses_its_end(written: Written) -> None:
    text = written(LogFormat.TEXT, lambda logger: logger.info("x" * 1_000_000))
    assert len(text) < 9_000
    assert "1000000 characters" in text


def test_the_level_can_be_changed_while_it_runs(written: Written) -> None:
    def body(logger: logging.Logger) -> None:
        logger.debug("before")
        set_level(LogLevel.ERROR)
        logger.warning("between")
        logger.error("after")

    text = written(LogFormat.TEXT, body)
    assert [line.rpartition(" ")[2] for line in text.splitlines()] == [
        "before",
        "after",
    ]


def test_libraries_say_no_more_than_warnings_and_smtp_dialogs_nothing(
    written: Written,
) -> None:
    def body(_: logging.Logger) -> None:
        logging.getLogger("uvicorn").info("noise")
        logging.getLogger("uvicorn").warning("heard")
        logging.getLogger("mail.log").error("AUTH PLAIN c2VjcmV0")

    text = written(LogFormat.TEXT, body)
    assert text.endswith("uvicorn: heard\n")
    assert len(text.splitlines()) == 1
