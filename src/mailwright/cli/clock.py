"""``mailwright clock``: whether the node believes its clock, and settling it."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from mailwright.api.paths import CLOCK, SETTLE
from mailwright.cli.operator import JsonOption, SettingsOption, ask_node
from mailwright.config.problems import printable

clock_app = typer.Typer(
    help="Whether the node believes its clock.", no_args_is_help=True
)

#: The clock is not believed.
_EXIT_SUSPECT: Final = 1


@clock_app.command("show")
def show_command(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Print the node's time and whether it is believed. Exits with 1 if it is not."""
    found = ask_node(settings, "GET", CLOCK)
    if as_json:
        print(json.dumps(found))
    else:
        for line in _lines(found):
            print(line)
    if found["suspicion"] is not None:
        raise typer.Exit(_EXIT_SUSPECT)


@clock_app.command("settle")
def settle_command(
    settings: SettingsOption,
    reason: Annotated[
        str, typer.Option("--reason", help="For the log and for people.")
    ] = "settled by hand",
    as_json: JsonOption = False,
) -> None:
    """Believe the node's time as it is: mail expires again, and days go on.

    Look at `clock show` first: mail whose time is over by that clock ends.
    """
    found = ask_node(settings, "POST", SETTLE, body={"reason": reason})
    if as_json:
        print(json.dumps(found))
        return
    for line in _lines(found):
        print(line)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"the node's time: {found['now']}"
    yield f"the system's clock is {found['ahead_s']:+.3f} s from it"
    if found["suspicion"] is None:
        yield "it is believed"
    else:
        yield f"NOT BELIEVED: {printable(found['suspicion'])}"
        yield "  nothing expires and no day's allowance begins until it is right, or:"
        yield "  mailwright clock settle"
    settled = found["settled"]
    if settled is not None:
        yield printable(
            f"settled {settled['at']} by {settled['author']}: {settled['reason']} "
            f"({settled['suspicion']})"
        )
