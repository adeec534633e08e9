"""Commands that open the database themselves, while no node runs."""

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import typer

from mailwright.accounts.changes import Authorship
from mailwright.accounts.directory import Directory
from mailwright.accounts.opening import NotSetUpError
from mailwright.accounts.sealing import NodeKeyError
from mailwright.clock import Clock, SystemClock
from mailwright.config.loading import load_node
from mailwright.config.problems import SettingsError
from mailwright.daemon.state import open_state
from mailwright.errors import MailwrightError
from mailwright.store.lock import LockHeldError
from mailwright.store.store import Store

_T = TypeVar("_T")

#: What was asked for cannot be done.
EXIT_FAILED: Final = 1
#: The settings are wrong; nothing was done.
EXIT_SETTINGS: Final = 2


class CommandError(MailwrightError):
    """What was asked for cannot be done; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Offline:
    """An open database, under the node's lock.

    Attributes:
        directory: the settings when it was opened.
    """

    store: Store
    directory: Directory
    clock: Clock

    def by(self, reason: str) -> Authorship:
        """Return the authorship of a change that a person makes with a command."""
        return Authorship(f"cli:{_user()}", reason, self.clock.now())


def run_offline(settings: Path, work: Callable[[Offline], Awaitable[_T]]) -> _T:
    """Run ``work`` on the database of the node with the settings file ``settings``.

    Sets up an empty database first, as the node's first start would. What goes wrong is
    said on standard error, and the command exits.
    """

    async def opened() -> _T:
        clock = SystemClock()
        async with open_state(node, clock) as state:
            return await work(Offline(state.store, state.settings.directory(), clock))

    with command_errors():
        node = load_node(settings)
        return asyncio.run(opened())


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
            f"the node is running{holder} and has its database locked; stop it, run "
            "this again, then start it",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_FAILED) from None
    except MailwrightError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a uid without a name
        return f"uid {os.getuid()}"
