"""``mailwright stop-all`` and ``release-all``: nothing leaves until somebody says so."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from mailwright.api.paths import RELEASE_ALL, STOP_ALL
from mailwright.cli.ends import end_of
from mailwright.cli.operator import JsonOption, SettingsOption, ask_node
from mailwright.config.problems import printable

#: There was nothing to release.
_EXIT_NOTHING: Final = 1


def stop_all_command(
    settings: SettingsOption,
    reason: Annotated[
        str, typer.Option("--reason", help="For the log and for people.")
    ] = "stopped by hand",
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help="An end: 2h from now, or 2026-03-01T08:00+00:00; else none."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let no mail leave, of any tenant, until release-all or the end.

    Mail is accepted as before, and what is on the wire ends. The stop outlives restarts;
    while no node runs it is written for the next start.
    """
    body: dict[str, Any] = {"reason": reason}
    if until is not None:
        body["ends_at"] = end_of(until, "--until").isoformat()
    found = ask_node(settings, "POST", STOP_ALL, body=body)
    if as_json:
        print(json.dumps(found))
        return
    print("no mail leaves until: mailwright release-all")
    for stop in found["stops"]:
        print(_text(stop))


def release_all_command(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Let mail leave again: ends every stop-all, and the hold after a restore.

    Holds of tenants, streams, domains, providers and pools stay in force.
    """
    found = ask_node(settings, "POST", RELEASE_ALL)
    if as_json:
        print(json.dumps(found))
    else:
        print("released:" if found["stops"] else "all mail was not stopped")
        for stop in found["stops"]:
            print(_text(stop))
    if not found["stops"]:
        raise typer.Exit(_EXIT_NOTHING)


def _text(stop: Mapping[str, Any]) -> str:
    until = f", until {stop['ends_at']}" if stop["ends_at"] else ""
    return (
        f"  {stop['created_at']} by {printable(stop['author'])}: "
        f"{printable(stop['reason'])}{until}"
    )
