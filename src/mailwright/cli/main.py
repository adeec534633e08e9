"""The ``mailwright`` command: one file per command group, put together here."""

from typing import Annotated

import typer

from mailwright import __version__
from mailwright.cli.config import config_app
from mailwright.cli.demo import demo_command
from mailwright.cli.dkim import dkim_app
from mailwright.cli.domain import domain_app
from mailwright.cli.key import key_app
from mailwright.cli.provider import provider_app
from mailwright.cli.queue import explain_command, queue_app
from mailwright.cli.serve import serve_command
from mailwright.cli.settings import apply_command, export_command, settings_app

app = typer.Typer(
    name="mailwright",
    help="A self-hosted mass mail transfer agent that keeps receivers' trust.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(dkim_app, name="dkim")
app.add_typer(config_app, name="config")
app.add_typer(key_app, name="key")
app.add_typer(provider_app, name="provider")
app.add_typer(domain_app, name="domain")
app.add_typer(queue_app, name="queue")
app.add_typer(settings_app, name="settings")
app.command("serve")(serve_command)
app.command("apply")(apply_command)
app.command("export")(export_command)
app.command("explain")(explain_command)
app.command("demo")(demo_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mailwright {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print it."
        ),
    ] = False,
) -> None:
    """A self-hosted mass mail transfer agent that keeps receivers' trust."""


def main() -> None:
    """Run the command line; the console script's entry point."""
    app()
