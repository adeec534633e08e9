"""``mailwright queue``: see what waits, and operate it.

The running node does the work; these commands ask it through its operator's socket.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from mailwright.api.paths import DELIVERIES, HOLDS, LINES, QUEUE
from mailwright.api.queue_records import GroupBy
from mailwright.cli.ends import end_of
from mailwright.cli.operator import JsonOption, SettingsOption, ask_node
from mailwright.cli.queue_text import (
    delivery_texts,
    extent_text,
    hold_text,
    line_text,
    table_lines,
)
from mailwright.cli.selecting import Selection, given_of, selecting
from mailwright.queue.state_page import state_page

queue_app = typer.Typer(
    help="What waits, and what to do with it.", no_args_is_help=True
)

#: Nothing was selected.
_EXIT_NOTHING: Final = 1

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most.")]
Reason = Annotated[str, typer.Option("--reason", help="For the log and for people.")]


@queue_app.command("summary")
@selecting
def summary(
    settings: SettingsOption,
    selection: Selection,
    by: Annotated[GroupBy, typer.Option("--by", help="Add up by.")] = GroupBy.PROVIDER,
    as_json: JsonOption = False,
) -> None:
    """Add up what waits: all of it, or what is selected."""
    found = ask_node(settings, "GET", QUEUE, params={**selection, "by": by.value})
    if as_json:
        print(json.dumps(found))
        return
    columns = ("name", "lines", "deliveries", "under_way", "held", "blocked")
    for line in table_lines(columns, [*found["groups"], found["total"]]):
        print(line)


@queue_app.command("list")
@selecting
def list_lines(
    settings: SettingsOption,
    selection: Selection,
    after: Annotated[int, typer.Option("--after", help="Go on after this line.")] = 0,
    limit: Limit = 100,
    as_json: JsonOption = False,
) -> None:
    """List lines with mail, and what stops each: all of them, or what is selected."""
    page = {"after": str(after), "limit": str(limit)}
    found = ask_node(settings, "GET", LINES, params={**selection, **page})
    if as_json:
        print(json.dumps(found))
        return
    for line in found["lines"]:
        print(line_text(line))
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


@queue_app.command("show")
@selecting
def show(
    settings: SettingsOption,
    selection: Selection,
    ident: Annotated[str | None, typer.Argument(help="msg_… or dlv_…")] = None,
    limit: Limit = 100,
    as_json: JsonOption = False,
) -> None:
    """Show deliveries that are not final: of a message, or those that leave next.

    Exits with 1 when there are none.
    """
    named = {**selection, **given_of(id=ident)}
    found = ask_node(settings, "GET", DELIVERIES, params={"limit": str(limit), **named})
    if as_json:
        print(json.dumps(found))
    elif not found:
        print("nothing of it waits")
    else:
        for line in (text for each in found for text in delivery_texts(each)):
            print(line)
    if not found:
        raise typer.Exit(_EXIT_NOTHING)


@queue_app.command("holds")
def list_holds(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """List the holds in force, and cancellations that are not over."""
    found = ask_node(settings, "GET", HOLDS)
    if as_json:
        print(json.dumps(found))
        return
    for hold in found:
        print(hold_text(hold))


@queue_app.command("states")
def states() -> None:
    """Print the page about states of a delivery as Markdown."""
    print(state_page(), end="")


@queue_app.command("hold")
@selecting
def hold(
    settings: SettingsOption,
    selection: Selection,
    reason: Reason,
    until: Annotated[
        str | None,
        typer.Option(
            "--for",
            "--until",
            help="An end: 2h from now, or 2026-03-01T08:00+00:00; else none.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Stop lines, and those that come later, until released or the time is over.

    With --id one message or delivery waits, and the rest of its lines goes on.
    """
    body: dict[str, Any] = {"reason": reason}
    if until is not None:
        body["ends_at"] = end_of(until, "--for").isoformat()
    _operate(settings, "hold", selection, body, dry_run=dry_run, as_json=as_json)


@queue_app.command("release")
@selecting
def release(
    settings: SettingsOption,
    selection: Selection,
    hold_id: Annotated[
        str | None, typer.Option("--hold", help="This hold, by its id.")
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """End the holds whose scope names all that is selected, or one by its id.

    Exits with 1 when there are none.
    """
    body = {"selection": selection, "dry_run": dry_run, **given_of(hold=hold_id)}
    found = ask_node(settings, "POST", f"{QUEUE}/release", body=body)
    if as_json:
        print(json.dumps(found))
    else:
        for each in found["holds"]:
            print(hold_text(each))
        print(extent_text("release", found["extent"]))
    if not found["holds"]:
        raise typer.Exit(_EXIT_NOTHING)


@queue_app.command("retry")
@selecting
def retry(
    settings: SettingsOption,
    selection: Selection,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Make what waits due now; what is to leave later keeps its time."""
    _operate(settings, "retry", selection, {}, dry_run=dry_run, as_json=as_json)


@queue_app.command("cancel")
@selecting
def cancel(
    settings: SettingsOption,
    selection: Selection,
    reason: Reason,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Take back what waits: none of it leaves from now on."""
    body = {"reason": reason}
    _operate(settings, "cancel", selection, body, dry_run=dry_run, as_json=as_json)


@queue_app.command("move")
@selecting
def move(
    settings: SettingsOption,
    selection: Selection,
    to_pool: Annotated[str, typer.Option("--to-pool", help="Leave from this pool.")],
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Let what waits leave from another pool; later mail goes where its stream says."""
    body = {"to_pool": to_pool}
    _operate(settings, "move", selection, body, dry_run=dry_run, as_json=as_json)


def _operate(
    settings: Any,
    name: str,
    selection: Selection,
    body: Mapping[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    sent = {**body, "selection": selection, "dry_run": dry_run}
    found = ask_node(settings, "POST", f"{QUEUE}/{name}", body=sent)
    print(json.dumps(found) if as_json else extent_text(name, found))
