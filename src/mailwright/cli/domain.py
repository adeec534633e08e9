"""``mailwright domain``: whether sending domains are proven in DNS."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from mailwright.cli.operator import (
    JsonOption,
    OperatorDoor,
    SettingsOption,
    run_operation,
)

domain_app = typer.Typer(help="Sending domains and their proof.", no_args_is_help=True)

_PATH: Final = "/v1/sending-domains/check"
#: Something is not as it should be.
_EXIT_WRONG: Final = 1


@domain_app.command("check")
def check(
    settings: SettingsOption,
    domain: Annotated[
        str | None, typer.Argument(help="Only this one; otherwise all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look into DNS for the keys of sending domains, and act on what is found.

    Exits with 1 when mail of one of them is refused or its record is not right.
    """
    params = {} if domain is None else {"domain": domain}

    async def work(door: OperatorDoor) -> Any:
        return await door.ask("POST", _PATH, params=params)

    found = run_operation(settings, work)
    if as_json:
        print(json.dumps(found))
    else:
        for each in found["domains"]:
            for line in _lines(each):
                print(line)
    if not all(each["is_proven"] and each["is_published"] for each in found["domains"]):
        raise typer.Exit(_EXIT_WRONG)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    state = "proven" if found["is_proven"] else "NOT PROVEN, its mail is refused"
    if found["proof"] == "operator":
        state = "the operator vouches for it"
    yield f"{found['domain']} (tenant {found['tenant']}): {state}; {found['finding']}"
    if not found["is_published"] and found["record"]:
        yield "  publish this TXT record:"
        yield f"  name:  {found['record_name']}"
        yield f"  value: {found['record']}"
