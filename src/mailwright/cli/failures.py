"""What commands say when they cannot do what was asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from mailwright.config.problems import SettingsError
from mailwright.errors import MailwrightError

#: What was asked for cannot be done.
EXIT_FAILED: Final = 1
#: The settings are wrong; nothing was done.
EXIT_SETTINGS: Final = 2


_SETUP_ERRORS: Final = (
    ("mailwright.accounts.opening", "NotSetUpError"),
    ("mailwright.accounts.sealing", "NodeKeyError"),
)
_LOCK_HELD: Final = ("mailwright.store.lock", "LockHeldError")


class CommandError(MailwrightError):
    """What was asked for cannot be done; the text says what to do."""


@contextmanager
def command_errors() -> Iterator[None]:
    """Turn what mailwright can name into lines on standard error and an exit code."""
    try:
        yield
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        raise typer.Exit(EXIT_SETTINGS) from None
    except MailwrightError as error:
        print(_text_of(error), file=sys.stderr)
        is_setup = any(_is(error, *each) for each in _SETUP_ERRORS)
        raise typer.Exit(EXIT_SETTINGS if is_setup else EXIT_FAILED) from None


def _text_of(error: MailwrightError) -> str:
    if not _is(error, *_LOCK_HELD):
        return str(error)
    pid = getattr(error, "pid", None)
    holder = "" if pid is None else f" (process {pid})"
    return (
        f"the node is running{holder} and does not answer at its operator's door; "
        "if it is starting, run this again in a moment, else stop it first"
    )


def _is(error: MailwrightError, module: str, name: str) -> bool:
    """Whether ``error`` is one of ``module``.

    Who raised it has imported it. Importing it here would make every command wait for
    half of the daemon.
    """
    found = sys.modules.get(module)
    return found is not None and isinstance(error, getattr(found, name))
