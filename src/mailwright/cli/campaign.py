"""``mailwright campaign``: create a job, upload its recipients, start it, follow it.

The commands talk to the API with a key of the tenant (``--url`` and ``--key``, or
``MAILWRIGHT_URL`` and ``MAILWRIGHT_API_KEY``; ``--settings`` in place of the URL). An
operator needs no key: ``--settings`` alone leads to the operator's door, and
``--credential`` says as whom it is done.

They exit with 0 when it is done, 1 when it is refused or the node does not answer, 2 when
the command line or a file is wrong; ``status --follow`` with 3 when the campaign ended
otherwise than ``done``.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from mailwright.cli.campaign_content import (
    change_command,
    create_command,
    preview_command,
    send_test_command,
)
from mailwright.cli.campaign_names import CAMPAIGNS, IdArgument, path_of
from mailwright.cli.campaign_text import campaign_lines, heading, share_done
from mailwright.cli.campaign_upload import upload_command
from mailwright.cli.failures import CommandError
from mailwright.cli.operator import JsonOption, OperatorDoor
from mailwright.cli.option_groups import with_groups
from mailwright.cli.progress import Report, bar
from mailwright.cli.reaching import ApiDoor, TenantReach

campaign_app = typer.Typer(
    help="Create campaigns, upload their recipients, run and follow them.",
    epilog="Exits with 0 when it is done, 1 when it is refused or the node does not "
    "answer, 2 when the command line or a file is wrong; status --follow with 3 when the "
    "campaign was cancelled, failed or is held.",
    no_args_is_help=True,
)

#: ``status --follow``: it ended otherwise than done.
EXIT_OTHERWISE: Final = 3
#: In these a campaign does not go on by itself.
_RESTING: Final = frozenset({"done", "cancelled", "failed", "held", "ready", "draft"})

campaign_app.command("create")(create_command)
campaign_app.command("upload")(upload_command)
campaign_app.command("preview")(preview_command)
campaign_app.command("test")(send_test_command)


def _add_move(name: str, text: str) -> None:
    def command(
        ident: IdArgument, reach: TenantReach, as_json: JsonOption = False
    ) -> None:
        path = path_of(ident, name)
        found = reach.run_api(lambda door: door.ask("POST", path))
        _show(found, as_json)

    command.__doc__ = text
    campaign_app.command(name)(with_groups(command))


_add_move("seal", "Take no more rows, and make a delivery of each; nothing leaves yet.")
_add_move("start", "Seal it if need be, and let it run: now, or from its send_at on.")
_add_move("pause", "Let nothing more leave, what is queued included.")
_add_move("resume", "Let it go on, whether it was paused or held by a rule.")
_add_move("cancel", "Stop it for good; what is queued ends as cancelled.")
campaign_app.command("change")(change_command)


@campaign_app.command("list")
@with_groups
def list_command(
    reach: TenantReach,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those in it, such as running.")
    ] = None,
    after: Annotated[str, typer.Option("--after", help="Go on after this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List campaigns, the newest first."""
    given = {"state": state, "after": after, "limit": limit}
    params = {name: value for name, value in given.items() if value}
    found = reach.run_api(lambda door: door.ask("GET", CAMPAIGNS, params=params))
    if as_json:
        print(json.dumps(found))
        return
    for each in found["campaigns"]:
        done, total = share_done(each)
        print(f"{heading(each)} ({done:,} of {total:,} deliveries ended)")
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


@campaign_app.command("status")
@with_groups
def status_command(
    ident: IdArgument,
    reach: TenantReach,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Until it does not go on by itself.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.05, help="Seconds between two looks.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show state, rows, deliveries, rate and end of a campaign.

    With --follow a bar shows how far it is; with --json too, a line for each change. Then
    it exits with 0 when the campaign is done (or waits to be started), with 3 when it was
    cancelled, failed or is held.
    """
    path = path_of(ident)
    if not follow:
        _show(reach.run_api(lambda door: door.ask("GET", path)), as_json)
        return

    async def work(door: OperatorDoor) -> Mapping[str, Any]:
        with bar("campaign") as report:
            show = _json_line if as_json else _nothing
            return await followed(
                lambda: door.ask("GET", path), show, report, every_s=every
            )

    found = reach.run_api(work)
    if not as_json:
        _show(found, as_json=False)
    if found["state"] in {"cancelled", "failed", "held"}:
        raise typer.Exit(EXIT_OTHERWISE)


async def followed(
    look: Callable[[], Awaitable[Mapping[str, Any]]],
    show: Callable[[Mapping[str, Any]], None],
    report: Report,
    *,
    every_s: float,
) -> Mapping[str, Any]:
    """Return the campaign once it does not go on by itself; show each change of it."""
    last: Mapping[str, Any] = {}
    while True:
        found = await look()
        if found != last:
            show(found)
            last = found
        progress = found.get("progress")
        if found["state"] == "sealing" and progress:
            report(progress["done"], progress["total"])
        else:
            report(*share_done(found))
        if found["state"] in _RESTING and not found["start_wanted"]:
            return found
        # A campaign says how far it is only when it is asked.
        await asyncio.sleep(every_s)


@campaign_app.command("results")
@with_groups
def results_command(
    ident: IdArgument,
    reach: TenantReach,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those, such as bounced.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help="Only those that ended so.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="csv or ndjson.")] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", help="A file instead of standard output.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what became of each recipient, as CSV or NDJSON (--json)."""
    given = {"state": state, "category": category}
    params = {name: value for name, value in given.items() if value}
    _export(reach, path_of(ident, "recipients"), params, form, out, as_json=as_json)


@campaign_app.command("rejects")
@with_groups
def rejects_command(
    ident: IdArgument,
    reach: TenantReach,
    form: Annotated[str, typer.Option("--format", help="csv or ndjson.")] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", help="A file instead of standard output.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the rows that got no delivery: duplicate, invalid (why), suppressed."""
    _export(reach, path_of(ident, "rejects"), {}, form, out, as_json=as_json)


def _export(
    reach: TenantReach,
    path: str,
    params: Mapping[str, str],
    form: str,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    chosen = "ndjson" if as_json else form
    if chosen not in {"csv", "ndjson"}:
        raise typer.BadParameter("say csv or ndjson", param_hint="--format")
    asked = {**params, "format": chosen}

    async def work(door: ApiDoor) -> None:
        if out is None:
            await _copied(door, path, asked, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        # Under its own name only when it is whole.
        part = out.with_name(f"{out.name}.part")
        try:
            with part.open("wb") as file:
                await _copied(door, path, asked, file)
            part.replace(out)
        except OSError as error:
            raise CommandError(f"{out}: {error.strerror}") from error

    reach.run_api(work)


async def _copied(
    door: ApiDoor, path: str, params: Mapping[str, str], file: BinaryIO
) -> None:
    async for piece in door.read(path, params=params):
        file.write(piece)


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    for line in campaign_lines(found):
        print(line)


def _json_line(found: Mapping[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def _nothing(_: Mapping[str, Any]) -> None:
    return
