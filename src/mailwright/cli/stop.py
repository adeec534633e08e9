"""``mailwright stop-all`` and ``release-all``: nothing leaves until somebody says so."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from mailwright.api.stopping import RELEASE_ALL, STOP_ALL
from mailwright.cli.operator import (
    JsonOption,
    OperatorDoor,
    SettingsOption,
    run_operation,
)
from mailwright.clock import SystemClock
from mailwright.config.problems import printable
from mailwright.config.units import UnitError, parse_duration

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
        body["ends_at"] = _end(until).isoformat()
    found = _ask(settings, STOP_ALL, body)
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
    found = _ask(settings, RELEASE_ALL, None)
    if as_json:
        print(json.dumps(found))
    else:
        print("released:" if found["stops"] else "all mail was not stopped")
        for stop in found["stops"]:
            print(_text(stop))
    if not found["stops"]:
        raise typer.Exit(_EXIT_NOTHING)


def _ask(settings: Any, path: str, body: Mapping[str, Any] | None) -> Any:
    async def work(door: OperatorDoor) -> Any:
        return await door.ask("POST", path, body=body)

    return run_operation(settings, work)


def _end(text: str) -> datetime:
    """Return the end that ``text`` names: so long from now, or an instant."""
    try:
        return SystemClock().now() + parse_duration(text)
    except UnitError:
        pass
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        end = None
    if end is None or end.tzinfo is None:
        raise typer.BadParameter(
            "say how long, such as 2h, or when, such as 2026-03-01T08:00+00:00",
            param_hint="--until",
        )
    return end


def _text(stop: Mapping[str, Any]) -> str:
    until = f", until {stop['ends_at']}" if stop["ends_at"] else ""
    return (
        f"  {stop['created_at']} by {printable(stop['author'])}: "
        f"{printable(stop['reason'])}{until}"
    )
