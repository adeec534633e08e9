"""The node's log: one line a record on standard error, for people or for collectors.

Control characters are escaped, so that nothing a peer says can forge a record. There
is no record per message at the level ``info``; what happened to mail is in the event
log.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from typing_extensions import override

from mailwright.config.node import LogFormat, LogLevel, LogSettings

_ROOT: Final = "mailwright"
#: Longer messages lose their end; tracebacks are written whole.
_MESSAGE_MAX: Final = 8_000
#: What ends a line somewhere, moves a cursor, or turns the direction of text.
_CONTROLS: Final = (
    *(code for code in (*range(32), *range(127, 160)) if code != 10),
    *(0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
    0xFEFF,
)
_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROLS
}


class _TextFormatter(logging.Formatter):
    """``2026-11-22T10:15:00.123Z info queue.scheduler: …``; further lines are indented."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        room = record.name.removeprefix(f"{_ROOT}.")
        text = (
            f"{_at(record)} {record.levelname.lower()} {room}: {_message(self, record)}"
        )
        return text.translate(_ESCAPES).replace("\n", "\n    ")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "at": _at(record),
                "level": record.levelname.lower(),
                "room": record.name.removeprefix(f"{_ROOT}."),
                "message": _message(self, record),
            }
        )


def _at(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    # A line feed in a message is somebody's input; those of a traceback are ours.
    text = record.getMessage()
    if len(text) > _MESSAGE_MAX:
        text = f"{text[:_MESSAGE_MAX]}… ({len(text)} characters)"
    text = text.replace("\n", "\\x0a")
    if record.exc_info:
        text = f"{text}\n{formatter.formatException(record.exc_info)}"
    return text


def start_logging(settings: LogSettings) -> None:
    """Write our records to standard error, and warnings of libraries with them."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.format is LogFormat.JSON
    handler.setFormatter(_JsonFormatter() if is_json else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # aiosmtpd writes the dialogue, with passwords in it, at its lower levels.
    logging.getLogger("mail").setLevel(logging.CRITICAL)
    set_level(settings.level)


def set_level(level: LogLevel) -> None:
    """Write our records from ``level`` on."""
    logging.getLogger(_ROOT).setLevel(level.value.upper())
