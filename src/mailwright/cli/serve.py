"""``mailwright serve``: run a node."""

import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from mailwright.config.loading import load_node
from mailwright.config.problems import SettingsError
from mailwright.daemon.lifecycle import Exit, serve
from mailwright.daemon.log import start_logging
from mailwright.errors import MailwrightError


def serve_command(
    settings: Annotated[
        Path, typer.Argument(help="The node's settings file.", metavar="FILE")
    ],
    held: Annotated[
        bool,
        typer.Option("--held", help="Accept mail and deliver none until release-all."),
    ] = False,
) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP re-reads its settings.

    Exits with 2 when a person must act (settings, node key, database), and with 74 when
    the disk failed.
    """
    try:
        node = load_node(settings)
        start_logging(node.log)
        status = uvloop.run(serve(settings, node, held=held))
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        status = Exit.SETTINGS
    except (MailwrightError, OSError) as error:
        print(f"mailwright: {error}", file=sys.stderr)
        status = Exit.SETTINGS
    raise typer.Exit(int(status))
