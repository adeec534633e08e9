"""``mailwright key``: make, list and revoke credentials.

A running node takes a change over at once. A secret is printed once, by ``create``.
"""

import json
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from mailwright.accounts.settings.credentials import check_name
from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.operator import (
    JsonOption,
    OperatorDoor,
    SettingsOption,
    run_operation,
)

key_app = typer.Typer(
    help="Make, list and revoke credentials (API keys and SMTP logins).",
    no_args_is_help=True,
)

_DEFAULT_SCOPES: Final = "send,control,read"
_PATH: Final = "/v1/credentials"

NameArgument = Annotated[
    str, typer.Argument(help="Name of the credential; also the SMTP login.")
]


@key_app.command("create")
def create(
    name: NameArgument,
    settings: SettingsOption,
    tenant: Annotated[
        str | None, typer.Option(help="Tenant that it belongs to.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Stream for mail that names none.")
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option(
            help="What it may do: send, control, read, manage; operate: reach the "
            "settings of all tenants.",
            show_default=_DEFAULT_SCOPES,
        ),
    ] = None,
    hourly_limit: Annotated[
        int | None,
        typer.Option(min=1, help="Recipients an hour; what is over it is paced."),
    ] = None,
    daily_quota: Annotated[
        int | None,
        typer.Option(min=1, help="Recipients a day; what is over it gets 452."),
    ] = None,
    backlog_limit: Annotated[
        int | None,
        typer.Option(min=1, help="Deliveries queued; what is over it gets 452."),
    ] = None,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate",
            help="Give an existing credential a new secret; the old one stops working.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a credential and print its secret, once."""
    with command_errors():
        check_name(name)
        asked = {
            "tenant": tenant,
            "stream": stream,
            "scopes": None if scopes is None else scopes.replace(",", " ").split(),
            "hourly_limit": hourly_limit,
            "daily_quota": daily_quota,
            "backlog_limit": backlog_limit,
        }
        body = {key: value for key, value in asked.items() if value is not None}
        if rotate and body:
            options = ", ".join(f"--{key.replace('_', '-')}" for key in body)
            raise CommandError(f"--rotate changes only the secret; leave out {options}")

    async def work(door: OperatorDoor) -> Any:
        if rotate:
            return await door.ask("POST", f"{_PATH}/{quote(name)}/secret")
        return await door.ask("POST", _PATH, body={"name": name, **body})

    made = run_operation(settings, work)
    if as_json:
        print(json.dumps(made))
    else:
        # The secret alone on standard output, so that a script can keep it.
        typer.echo(f"{name}: keep this secret, it is not shown again:", err=True)
        print(made["secret"])


@key_app.command("list")
def list_keys(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """List the credentials that are not revoked."""
    found = run_operation(settings, lambda door: door.ask("GET", _PATH))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("name", "tenant", "stream", "scopes", "secret", "limits", box=None)
    for row in found["credentials"]:
        table.add_row(
            row["name"],
            row["tenant"],
            row["stream"],
            " ".join(row["scopes"]),
            "yes" if row["has_secret"] else "named networks only",
            _limits(row),
        )
    Console(highlight=False, soft_wrap=True).print(table)


@key_app.command("revoke")
def revoke(
    name: NameArgument, settings: SettingsOption, as_json: JsonOption = False
) -> None:
    """Revoke a credential for good; its queued mail stays queued."""
    path = f"{_PATH}/{quote(name, safe='')}"
    run_operation(settings, lambda door: door.ask("DELETE", path))
    if as_json:
        print(json.dumps({"name": name, "revoked": True}))
    else:
        print(f"{name} is revoked")


def _limits(row: dict[str, Any]) -> str:
    words = {
        "hourly_limit": "an hour",
        "daily_quota": "a day",
        "backlog_limit": "queued",
    }
    return ", ".join(
        f"{row[key]} {word}" for key, word in words.items() if row[key] is not None
    )
