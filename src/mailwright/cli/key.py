"""``mailwright key``: make, list and revoke credentials while no node runs.

The commands open the database under the node's lock, and set it up first if the node has
never run, exactly as its first start would. A secret is printed once, by ``create``.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from mailwright.accounts.authentication import CREDENTIAL_NAME, make_secret
from mailwright.accounts.changes import (
    NewCredential,
    create_credential,
    replace_secret,
    retire_credential,
    took_effect,
)
from mailwright.accounts.directory import Credential, Directory, Scope, Stream, Tenant
from mailwright.cli.offline import CommandError, Offline, command_errors, run_offline
from mailwright.config.nearest import did_you_mean
from mailwright.ids import CredentialId
from mailwright.store.ports import StoreConflictError

key_app = typer.Typer(
    help="Make, list and revoke credentials (API keys and SMTP logins).",
    no_args_is_help=True,
)

_DEFAULT_SCOPES: Final = "send,control,read"

SettingsOption = Annotated[
    Path,
    typer.Option(
        "--settings",
        envvar="MAILWRIGHT_SETTINGS",
        help="The node's settings file.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
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
            help="What it may do: send, control, read, manage.",
            show_default=_DEFAULT_SCOPES,
        ),
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
        _check(name, rotates=rotate, others=bool(tenant or stream or scopes))
    secret, secret_hash = make_secret(name)

    async def work(opened: Offline) -> None:
        if rotate:
            await _rotate(opened, name, secret_hash)
        else:
            new = _new_credential(opened, name, tenant, stream, scopes, secret_hash)
            await _create(opened, new)

    run_offline(settings, work)
    if as_json:
        print(json.dumps({"name": name, "secret": secret}))
    else:
        # The secret alone on standard output, so that a script can keep it.
        typer.echo(f"{name}: keep this secret, it is not shown again:", err=True)
        print(secret)


@key_app.command("list")
def list_keys(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """List the credentials that are not revoked."""

    async def work(opened: Offline) -> list[dict[str, object]]:
        found = sorted(
            opened.directory.credentials.values(), key=lambda each: each.name
        )
        return [_described(opened.directory, each) for each in found]

    rows = run_offline(settings, work)
    if as_json:
        print(json.dumps({"credentials": rows}))
        return
    table = Table("name", "tenant", "stream", "scopes", "secret", box=None)
    for row in rows:
        scopes = row["scopes"]
        table.add_row(
            str(row["name"]),
            str(row["tenant"]),
            str(row["stream"]),
            " ".join(scopes) if isinstance(scopes, list) else "",
            "yes" if row["has_secret"] else "named networks only",
        )
    Console(highlight=False, soft_wrap=True).print(table)


@key_app.command("revoke")
def revoke(
    name: NameArgument, settings: SettingsOption, as_json: JsonOption = False
) -> None:
    """Revoke a credential for good; its queued mail stays queued."""

    async def work(opened: Offline) -> None:
        unit = retire_credential(name, opened.by("key revoke"))
        if not took_effect(await opened.store.run(unit)):
            raise CommandError(_no_such(opened.directory, name))

    run_offline(settings, work)
    if as_json:
        print(json.dumps({"name": name, "revoked": True}))
    else:
        print(f"{name} is revoked")


def _check(name: str, *, rotates: bool, others: bool) -> None:
    if CREDENTIAL_NAME.fullmatch(name) is None:
        raise CommandError(
            "a name is up to 63 of a–z, 0–9, dot, hyphen and underscore, with a letter "
            "or digit at both ends"
        )
    if rotates and others:
        raise CommandError(
            "--rotate changes only the secret; leave out --tenant, --stream, --scopes"
        )


async def _create(opened: Offline, new: NewCredential) -> None:
    try:
        result = await opened.store.run(create_credential(new, opened.by("key create")))
    except StoreConflictError:
        advice = (
            "it exists; for a new secret add --rotate"
            if new.name in opened.directory.credentials
            else "it was revoked, and a revoked name is not used again; choose another"
        )
        raise CommandError(f"{new.name}: {advice}") from None
    if not took_effect(result):
        raise CommandError("the tenant or stream was retired meanwhile")


async def _rotate(opened: Offline, name: str, secret_hash: bytes) -> None:
    unit = replace_secret(name, secret_hash, opened.by("key create --rotate"))
    if not took_effect(await opened.store.run(unit)):
        raise CommandError(_no_such(opened.directory, name))


def _new_credential(
    opened: Offline,
    name: str,
    tenant_name: str | None,
    stream_name: str | None,
    scopes: str | None,
    secret_hash: bytes,
) -> NewCredential:
    tenant = _tenant(opened.directory, tenant_name)
    return NewCredential(
        CredentialId(opened.store.ids.take()),
        tenant,
        _stream(opened.directory, tenant, stream_name),
        name,
        _scopes(_DEFAULT_SCOPES if scopes is None else scopes),
        secret_hash,
    )


def _tenant(directory: Directory, name: str | None) -> Tenant:
    by_name = {each.name: each for each in directory.tenants.values()}
    if name is None:
        raise CommandError(f"add --tenant; there are: {_listed(by_name)}")
    if name not in by_name:
        hint = did_you_mean(name, by_name) or f"there are: {_listed(by_name)}"
        raise CommandError(f"there is no tenant {name!r}; {hint}")
    return by_name[name]


def _stream(directory: Directory, tenant: Tenant, name: str | None) -> Stream:
    by_name = {
        each.name: each
        for (owner, _), each in directory.streams_by_name.items()
        if owner == tenant.id
    }
    if name is None:
        raise CommandError(f"add --stream; there are: {_listed(by_name)}")
    if name not in by_name:
        hint = did_you_mean(name, by_name) or f"there are: {_listed(by_name)}"
        raise CommandError(f"tenant {tenant.name} has no stream {name!r}; {hint}")
    return by_name[name]


def _scopes(text: str) -> frozenset[Scope]:
    known = [scope.value for scope in Scope]
    wanted = text.replace(",", " ").split()
    for name in wanted:
        if name not in known:
            raise CommandError(
                f"there is no scope {name!r}; there are: {_listed(known)}"
            )
    if not wanted:
        raise CommandError(f"--scopes names none; there are: {_listed(known)}")
    return frozenset(map(Scope, wanted))


def _no_such(directory: Directory, name: str) -> str:
    hint = did_you_mean(name, directory.credentials)
    return f"there is no credential {name!r}; " + (hint or "see: mailwright key list")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _described(directory: Directory, found: Credential) -> dict[str, object]:
    return {
        "name": found.name,
        "tenant": directory.tenants[found.tenant].name,
        "stream": directory.streams[found.stream].name,
        "scopes": sorted(found.scopes),
        "has_secret": found.secret_hash is not None,
    }
