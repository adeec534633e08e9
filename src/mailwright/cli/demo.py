"""``mailwright demo``: a whole node against a captive internet on this machine."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer
import uvloop
from rich.console import Console

from mailwright.cli.rehearsing import MAX_RECIPIENTS, rehearse
from mailwright.clock import SystemClock
from mailwright.errors import MailwrightError
from mailwright.sandbox.demo.display import Result, display_on, print_summary
from mailwright.sandbox.demo.rehearsal import Ending

EXIT_FAULT: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells say it
#: Members of the JSON object before ``seconds``; the first is the sum of the next six.
_COUNTS: Final = (
    *("accepted", "delivered", "bounced", "expired", "suppressed", "cancelled"),
    *("queued", "lost", "duplicates", "dkim_verified"),
)


def demo_command(
    recipients: Annotated[
        int,
        typer.Option(
            "--recipients", min=1, max=MAX_RECIPIENTS, help="How many get mail."
        ),
    ] = 400,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object at the end, all else on standard error.",
        ),
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="New folder for settings, keys, database and log, which stays.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a node against a captive internet on this machine, and account for it all.

    Sends a mixed batch by SMTP and HTTP to domains that take it, greylist it, put it off,
    refuse it, answer slowly or lose connections; then compares what the clients were
    told, what the node's event log says and what the receivers really took. Nothing
    leaves the machine.

    Exits with 1 if anything is lost, duplicated, unverified or not done in time.
    """
    stream = sys.stderr if as_json else sys.stdout
    with _console_on(stream) as console, _folder(keep) as folder:
        console.print("Making keys and settings, starting node and internet …")
        result = _rehearsed(recipients, folder.path, console)
        status = _status_of(result)
        folder.is_kept |= status == EXIT_FAULT
        if result is not None:
            print_summary(console, result)
        if folder.is_kept:
            console.print(
                f"Settings, database and log are in {folder.path}",
                highlight=False,
                soft_wrap=True,
            )
    if as_json and result is not None:
        counts = {name: getattr(result.balance, name) for name in _COUNTS}
        print(json.dumps({**counts, "seconds": round(result.last.seconds, 3)}))
    raise typer.Exit(status)


def _status_of(result: Result | None) -> int:
    if result is None or result.faults:
        return EXIT_FAULT
    if result.is_good:
        return 0
    return EXIT_INTERRUPTED if result.ending is Ending.INTERRUPTED else EXIT_FAULT


def _rehearsed(recipients: int, path: Path, console: Console) -> Result | None:
    """Return the result, or ``None`` when there is none and it was said why."""

    async def run() -> Result:
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupted.set)
        display = display_on(console)
        return await rehearse(recipients, path, display, interrupted, SystemClock())

    result = None
    try:
        result = uvloop.run(run())
    except* (MailwrightError, OSError, HTTPException) as group:
        for error in _leaves(group):
            print(f"mailwright: {error}", file=sys.stderr)
    return result


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@dataclass(slots=True)
class _Folder:
    path: Path
    is_kept: bool


@contextmanager
def _folder(keep: Path | None) -> Iterator[_Folder]:
    """Make the folder of the demo; removed in the end unless it is to be kept."""
    if keep is None:
        folder = _Folder(Path(tempfile.mkdtemp(prefix="mailwright-demo-")), False)
    else:
        folder = _Folder(keep.absolute(), True)
        try:
            folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_empty = not any(folder.path.iterdir())
        except OSError as error:
            raise _usage(f"--keep: {keep}: {error.strerror}") from None
        if not is_empty:
            raise _usage(f"--keep: {keep} is not empty; name a new folder")
    try:
        yield folder
    finally:
        if not folder.is_kept:
            shutil.rmtree(folder.path, ignore_errors=True)


@contextmanager
def _console_on(stream: TextIO) -> Iterator[Console]:
    """Give a console with a buffer even where ``PYTHONUNBUFFERED`` took it away.

    Without one Python forgets what the system did not take of a write, and a terminal
    does not always take a whole table.
    """
    try:
        number = stream.fileno()
    except OSError:  # somebody captures it
        yield Console(file=stream)
        return
    encoding = stream.encoding
    with open(number, "w", encoding=encoding, errors="replace", closefd=False) as file:
        yield Console(file=file)


def _usage(text: str) -> typer.Exit:
    typer.echo(text, err=True)
    return typer.Exit(EXIT_USAGE)
