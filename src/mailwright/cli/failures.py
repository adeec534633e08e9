"""What commands say when they cannot do what was asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from mailwright.accounts.opening import NotSetUpError
from mailwright.accounts.sealing import NodeKeyError
from mailwright.config.problems import SettingsError
from mailwright.errors import MailwrightError
from mailwright.store.lock import LockHeldError

#: What was asked for cannot be done.
EXIT_FAILED: Final = 1
#: The settings are wrong; nothing was done.
EXIT_SETTINGS: Final = 2


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
    except (NodeKeyError, NotSetUpError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_SETTINGS) from None
    except LockHeldError as error:
        holder = "" if error.pid is None else f" (process {error.pid})"
        print(
            f"the node is running{holder} and does not answer at its operator's door; "
            "if it is starting, run this again in a moment, else stop it first",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_FAILED) from None
    except MailwrightError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None
