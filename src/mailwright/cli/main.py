"""The ``mailwright`` command: one file per command group, put together here.

A group is imported when it is asked for: importing all of them takes over a second, most
of it for a daemon that ``mailwright config check`` never starts.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Final

import typer

from mailwright import __version__

#: Command, or group of commands → where it is. ``…_app`` is a group.
_COMMANDS: Final = {
    "serve": "serve:serve_command",
    "config": "config:config_app",
    "dkim": "dkim:dkim_app",
    "key": "key:key_app",
    "domain": "domain:domain_app",
    "apply": "settings:apply_command",
    "export": "settings:export_command",
    "settings": "settings:settings_app",
    "queue": "queue:queue_app",
    "campaign": "campaign:campaign_app",
    "suppression": "suppression:suppression_app",
    "explain": "explain:explain_command",
    "stop-all": "stop:stop_all_command",
    "release-all": "stop:release_all_command",
    "backup": "backup:backup_command",
    "restore": "backup:restore_command",
    "db": "db:db_app",
    "provider": "provider:provider_app",
    "clock": "clock:clock_app",
    "demo": "demo:demo_command",
}


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mailwright {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print it."
        ),
    ] = False,
) -> None:
    """A self-hosted mass mail transfer agent that keeps receivers' trust."""


def command_line(names: Iterable[str] = tuple(_COMMANDS)) -> typer.Typer:
    """Return the command with the groups ``names``; imports what they need."""
    app = typer.Typer(
        name="mailwright",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name in names:
        module, attribute = _COMMANDS[name].split(":")
        found = getattr(import_module(f"mailwright.cli.{module}"), attribute)
        if attribute.endswith("_app"):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main() -> None:
    """Run the command line; the console script's entry point."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked == "--version":
        print(f"mailwright {__version__}")
    elif asked in _COMMANDS:
        command_line([asked])()
    else:
        command_line()()
