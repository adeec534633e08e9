"""``mailwright queue`` and ``mailwright explain``: see what waits, and operate it.

The running node does the work; these commands ask it through its operator's socket.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from mailwright.api.operations import HOLDS, QUEUE
from mailwright.api.queue_records import GroupBy
from mailwright.cli.operator import (
    JsonOption,
    OperatorDoor,
    SettingsOption,
    run_operation,
)
from mailwright.clock import SystemClock
from mailwright.config.problems import printable
from mailwright.config.units import UnitError, parse_duration

queue_app = typer.Typer(
    help="What waits, and what to do with it.", no_args_is_help=True
)

#: Nothing was selected.
_EXIT_NOTHING: Final = 1

_PANEL: Final = "Selection: every part that is given must hold"


def _option(name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=_PANEL)


Tenant = Annotated[str | None, _option("--tenant", "Of this tenant.")]
Stream = Annotated[str | None, _option("--stream", "Of this stream.")]
Domain = Annotated[str | None, _option("--domain", "To this recipient domain.")]
Provider = Annotated[str | None, _option("--provider", "To sites of this provider.")]
PoolName = Annotated[str | None, _option("--pool", "Leaving from this pool.")]
LineId = Annotated[str | None, _option("--line", "This line, by its id.")]
Ident = Annotated[str | None, _option("--id", "This message or delivery.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Reason = Annotated[str, typer.Option("--reason", help="For the log and for people.")]


@queue_app.command("summary")
def summary(
    settings: SettingsOption,
    by: Annotated[GroupBy, typer.Option("--by", help="Add up by.")] = GroupBy.PROVIDER,
    as_json: JsonOption = False,
) -> None:
    """Add up what waits."""
    found = _ask(settings, "GET", QUEUE, params={"by": by.value})
    if as_json:
        print(json.dumps(found))
        return
    columns = ("name", "lines", "deliveries", "under_way", "held", "blocked")
    _print_table(columns, [*found["groups"], found["total"]])


@queue_app.command("list")
def list_lines(
    settings: SettingsOption,
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    after: Annotated[int, typer.Option("--after", help="Go on after this line.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """List lines with mail, and what stops each."""
    selected = _given(
        tenant=tenant, stream=stream, domain=domain, provider=provider, pool=pool
    )
    params = {**selected, "after": after, "limit": limit}
    found = _ask(settings, "GET", f"{QUEUE}/lines", params=params)
    if as_json:
        print(json.dumps(found))
        return
    for line in found["lines"]:
        print(_line_text(line))
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


@queue_app.command("show")
def show(
    settings: SettingsOption,
    ident: Annotated[str, typer.Argument(help="msg_… or dlv_…")],
    as_json: JsonOption = False,
) -> None:
    """Show the deliveries of a message that are not final, or one delivery."""
    found = _ask(settings, "GET", f"{QUEUE}/{_path_part(ident)}")
    if as_json:
        print(json.dumps(found))
        return
    for each in found:
        print(
            f"{each['id']} {printable(each['recipient'])}: {each['state']}, "
            f"{each['attempts']} attempts, due {each['due_at']}"
        )
        if each["last_reply"]:
            print(f"  last reply: {printable(each['last_reply'])}")
        print(f"  {_line_text(each['line'])}")


@queue_app.command("holds")
def list_holds(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """List the holds in force, and cancellations that are not over."""
    found = _ask(settings, "GET", HOLDS)
    if as_json:
        print(json.dumps(found))
        return
    for hold in found:
        print(_hold_text(hold))


@queue_app.command("hold")
def hold(  # noqa: PLR0913, PLR0917  options of a command
    settings: SettingsOption,
    reason: Reason,
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    line: LineId = None,
    lasts: Annotated[
        str | None, typer.Option("--for", help="Until then, such as 2h; else for good.")
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Stop lines, and those that come later, until released or the time is over."""
    selection = _given(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
    )
    body: dict[str, Any] = {"reason": reason}
    if lasts is not None:
        body["ends_at"] = _end(lasts).isoformat()
    _operate(settings, "hold", selection, body, dry_run=dry_run, as_json=as_json)


@queue_app.command("release")
def release(
    settings: SettingsOption,
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    line: LineId = None,
    hold_id: Annotated[
        str | None, typer.Option("--hold", help="This hold, by its id.")
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """End the holds whose scope names all that is selected, or one by its id."""
    selection = _given(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
    )
    body = {"selection": selection, "dry_run": dry_run, **_given(hold=hold_id)}
    found = _ask(settings, "POST", f"{QUEUE}/release", body=body)
    if as_json:
        print(json.dumps(found))
    else:
        for each in found["holds"]:
            print(_hold_text(each))
        print(_extent_text("release", found["extent"]))
    if not found["holds"]:
        raise typer.Exit(_EXIT_NOTHING)


@queue_app.command("retry")
def retry(
    settings: SettingsOption,
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    line: LineId = None,
    ident: Ident = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Make what waits due now; what is to leave later keeps its time."""
    selection = _given(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
        id=ident,
    )
    _operate(settings, "retry", selection, {}, dry_run=dry_run, as_json=as_json)


@queue_app.command("cancel")
def cancel(  # noqa: PLR0913, PLR0917  options of a command
    settings: SettingsOption,
    reason: Reason,
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    line: LineId = None,
    ident: Ident = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Take back what waits: none of it leaves from now on."""
    selection = _given(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
        id=ident,
    )
    body = {"reason": reason}
    _operate(settings, "cancel", selection, body, dry_run=dry_run, as_json=as_json)


@queue_app.command("move")
def move(
    settings: SettingsOption,
    to_pool: Annotated[str, typer.Option("--to-pool", help="Leave from this pool.")],
    tenant: Tenant = None,
    stream: Stream = None,
    domain: Domain = None,
    provider: Provider = None,
    pool: PoolName = None,
    line: LineId = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Let what waits leave from another pool; later mail goes where its stream says."""
    selection = _given(
        tenant=tenant,
        stream=stream,
        domain=domain,
        provider=provider,
        pool=pool,
        line=line,
    )
    body = {"to_pool": to_pool}
    _operate(settings, "move", selection, body, dry_run=dry_run, as_json=as_json)


def explain_command(
    settings: SettingsOption,
    what: Annotated[
        str, typer.Argument(help="An address, a domain, a provider, msg_… or dlv_…")
    ],
    as_json: JsonOption = False,
) -> None:
    """Say why mail leaves or does not: its way, limits, what stops it, last replies."""
    found = _ask(settings, "GET", "/v1/explain", params={"what": what})
    if as_json:
        print(json.dumps(found))
        return
    for line in _explanation(found):
        print(line)


def _ask(settings: Any, method: str, path: str, **more: Any) -> Any:
    async def work(door: OperatorDoor) -> Any:
        return await door.ask(method, path, **more)

    return run_operation(settings, work)


def _operate(
    settings: Any,
    name: str,
    selection: Mapping[str, str],
    body: Mapping[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    sent = {**body, "selection": selection, "dry_run": dry_run}
    found = _ask(settings, "POST", f"{QUEUE}/{name}", body=sent)
    print(json.dumps(found) if as_json else _extent_text(name, found))


def _given(**parts: str | None) -> dict[str, str]:
    return {name: value for name, value in parts.items() if value is not None}


def _end(text: str) -> datetime:
    try:
        return SystemClock().now() + parse_duration(text)
    except UnitError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from error


def _path_part(ident: str) -> str:
    if not ident.replace("_", "").isalnum() or not ident.isascii():
        raise typer.BadParameter("is no id", param_hint="IDENT")
    return ident


def _extent_text(name: str, extent: Mapping[str, Any]) -> str:
    would = "would be for" if extent["dry_run"] else "is for"
    text = (
        f"{name} {would} {extent['deliveries']} deliveries in {extent['lines']} lines"
    )
    if extent["under_way"]:
        text += f"; {extent['under_way']} more are under way and left alone"
    if extent["unresolved"]:
        text += f"; {extent['unresolved']} domains have no known provider"
    if extent["hold"]:
        text += f" (hold {extent['hold']})"
    return text


def _hold_text(hold: Mapping[str, Any]) -> str:
    scope = " ".join(f"{name}={value}" for name, value in hold["selection"].items())
    what = "cancels" if hold["cancels"] else "holds"
    until = f" until {hold['ends_at']}" if hold["ends_at"] else ""
    said = printable(f"{scope}{until}, by {hold['author']}: {hold['reason']}")
    return f"{hold['id']} {what} {said}"


def _line_text(line: Mapping[str, Any]) -> str:
    text = (
        f"line {line['id']} {line['tenant']}/{line['stream']} to {line['domain']} "
        f"from {line['pool']}: {line['deliveries']} wait, {line['under_way']} under way"
    )
    return printable(text + _block_text(line["blocked"]))


def _block_text(block: Mapping[str, Any] | None) -> str:
    if block is None:
        return ""
    until = f" (until {block['until']})" if block["until"] else ""
    return f"; {block['by']}: {block['reason']}{until}"


def _explanation(found: Mapping[str, Any]) -> Iterator[str]:
    path = found["path"]
    if path is not None and path["refused"] is not None:
        yield printable(f"{path['domain']}: no way: {path['refused']}")
    elif path is not None:
        hosts = ", ".join(path["hosts"])
        yield printable(
            f"{path['domain']}: by {path['via']} to {hosts}; site {path['site']}, "
            f"provider {path['provider']}, TLS {path['tls']}"
        )
        for limit in path["limits"]:
            yield printable(f"  limit per {limit['level']}: {limit['limit']}")
    for lane in found["lanes"]:
        open_now = sum(lane["connections"].values())
        yield printable(
            f"lane {lane['site']} from {lane['pool']}: {lane['deliveries']} due, "
            f"{open_now} of {lane['connections_most']} connections"
            + _block_text(lane["rests"])
        )
    if not found["lines"]:
        yield "nothing waits for it"
    for each in found["lines"]:
        yield _line_text(each["line"])
        for said in each["last_replies"]:
            reply = f"{said['code']} {said['enhanced']} {said['text']}"
            yield printable(f"  {said['at']} {said['hop']} {said['phase']}: {reply}")
    if found["lines_left_out"]:
        yield f"and {found['lines_left_out']} more lines"


def _print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        columns,
        *([printable(str(row[name])) for name in columns] for row in rows),
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    for row in cells:
        name, *numbers = (
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((name, *numbers)))
