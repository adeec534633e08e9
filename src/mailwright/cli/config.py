"""``mailwright config``: check, show and explain the settings files."""

import json
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailwright.config.checking import FileKind, Report, check, kind_of
from mailwright.config.loading import read_toml, validate
from mailwright.config.problems import Problem, SettingsError, printable
from mailwright.config.reference import json_schema, reference_page
from mailwright.config.sample import sample
from mailwright.config.toml import format_settings

config_app = typer.Typer(
    help="Check, show and explain the settings files.", no_args_is_help=True
)


class Exit(IntEnum):
    """What the commands exit with."""

    OK = 0
    WRONG = 2  # as with ``serve``, which does not start on it


SettingsPath = Annotated[
    Path, typer.Argument(metavar="FILE", help="The node file or the setup file.")
]
AsSetup = Annotated[
    bool, typer.Option("--setup", help="It is a setup file; else its keys tell.")
]
OfSetup = Annotated[bool, typer.Option("--setup", help="Of the setup file.")]


@config_app.command("check")
def check_command(
    path: SettingsPath,
    setup: AsSetup = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    no_files: Annotated[
        bool,
        typer.Option("--no-files", help="The files named in it need not be there."),
    ] = False,
) -> None:
    """Say what is wrong in a settings file and in the bootstrap file that it names.

    Exits with 0 when nothing is, with 2 when something is or the file cannot be read.
    """
    report = check(path, FileKind.SETUP if setup else None, files=not no_files)
    print_report = _print_json if as_json else _print_text
    print_report(report)
    if report.problems:
        raise typer.Exit(Exit.WRONG)


@config_app.command("show")
def show_command(path: SettingsPath, setup: AsSetup = False) -> None:
    """Print every effective value as TOML, with the defaults marked."""
    try:
        data = read_toml(path)
        kind = FileKind.SETUP if setup else kind_of(data)
        print(format_settings(validate(kind.schema, data, path)), end="")
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.WRONG) from None


@config_app.command("schema")
def schema_command(setup: OfSetup = False) -> None:
    """Print the JSON Schema, for editors that check TOML while you type."""
    print(json.dumps(json_schema(_kind(setup).schema), indent=2, ensure_ascii=False))


@config_app.command("example")
def example_command(setup: OfSetup = False) -> None:
    """Print a commented file to start from."""
    print(sample(_kind(setup).schema), end="")


@config_app.command("reference")
def reference_command() -> None:
    """Print the reference page of all settings as Markdown."""
    print(reference_page(), end="")


def _kind(setup: bool) -> FileKind:
    return FileKind.SETUP if setup else FileKind.NODE


def _print_json(report: Report) -> None:
    document = {
        "ok": not report.problems,
        "files": [{"file": str(path), "kind": kind} for path, kind in report.files],
        "problems": [
            {
                "file": str(each.file),
                "key": each.key,
                "what": each.what,
                "remedy": each.remedy,
                "line": each.line,
                "column": each.column,
            }
            for each in report.problems
        ],
    }
    print(json.dumps(document))


def _print_text(report: Report) -> None:
    console = Console(soft_wrap=True)
    if report.problems and console.is_terminal:
        console.print(_table(report.problems), soft_wrap=False)
    elif report.problems:
        for each in report.problems:
            print(each)
    else:
        for path, kind in report.files:
            print(f"{printable(str(path))}: ok ({kind} file)")


def _table(problems: tuple[Problem, ...]) -> Table:
    """Return the problems for a terminal; the texts are data, never markup."""
    table = Table("file", "key", "what is wrong", "what to do", show_lines=True)
    for each in problems:
        cells = (each.place, each.key, each.what, each.remedy)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    return table
