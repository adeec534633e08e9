"""``mailwright suppression``: who must not be mailed, and why.

Addresses go in and are asked about; what is listed are subjects, because no address is
kept. Through the operator's door (``--settings``) for any tenant or for everyone, or with
a key that has the scope ``manage`` for its own.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final
from urllib.parse import quote

import typer

from mailwright.api.paths import SUPPRESSIONS
from mailwright.api.suppression_records import ADDRESSES_MAX
from mailwright.bounce.suppression import Reason
from mailwright.cli.columns import Recipient, find_columns, parse_asked, recipients
from mailwright.cli.ends import end_of
from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.given_file import opened
from mailwright.cli.operator import JsonOption, OperatorDoor
from mailwright.cli.option_groups import with_groups
from mailwright.cli.progress import bar
from mailwright.cli.reaching import Reach
from mailwright.cli.spreadsheet import SpreadsheetError, find_dialect, records
from mailwright.config.problems import printable

suppression_app = typer.Typer(
    help="Who must not be mailed: add, remove, check, list.", no_args_is_help=True
)

#: Not suppressed, or something that was given is no address.
_EXIT_NOTHING: Final = 1
#: Rows that are looked at to find the column of addresses.
_HEAD_ROWS: Final = 200
_INVALID_SHOWN: Final = 20

TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Its mail; for operators.")
]
AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS")]


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose mail is meant.

    Attributes:
        stream: ``None``: all of them.
    """

    tenant: TenantOption = None
    everyone: Annotated[
        bool, typer.Option("--everyone", help="All tenants' mail; for operators.")
    ] = False
    stream: Annotated[
        str | None, typer.Option("--stream", help="Only this stream; otherwise all.")
    ] = None

    def to_params(self) -> dict[str, str | int | bool]:
        """Return what was given, as the API takes it in a question."""
        return _params(tenant=self.tenant, stream=self.stream, everyone=self.everyone)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of addresses, and how to read it."""

    file: Annotated[
        Path | None,
        typer.Option("--file", help="CSV or one address a line; - is standard input."),
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="email=HEADING", help="Which column holds addresses."
        ),
    ] = None
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of the file, if not found right.")
    ] = None


@dataclass(frozen=True, slots=True)
class Why:
    """The cause of a suppression."""

    reason: Annotated[Reason, typer.Option("--reason")] = Reason.MANUAL
    note: Annotated[
        str, typer.Option("--note", help="Why, for people; name no address in it.")
    ] = ""
    until: Annotated[
        str | None,
        typer.Option(
            "--for",
            "--until",
            help="An end: 90d from now, or 2026-03-01T08:00+00:00; else none.",
        ),
    ] = None


@dataclass(slots=True)
class _Sum:
    """What became of addresses so far."""

    added: int = 0
    kept: int = 0
    invalid: list[dict[str, Any]] = field(default_factory=list)


@suppression_app.command("add")
@with_groups
def add(
    reach: Reach,
    listed: Listed,
    whose: Whose,
    why: Why,
    addresses: Annotated[list[str] | None, typer.Argument(metavar="ADDRESS")] = None,
    as_json: JsonOption = False,
) -> None:
    """Suppress addresses: what is queued for them ends as suppressed, unsent.

    Adding again changes nothing, so a repeat after an interruption is safe. Exits with 1
    when something given is no address; the others are suppressed all the same.
    """
    body = {"reason": why.reason.value, "note": why.note, **whose.to_params()}
    if why.until is not None:
        body["ends_at"] = end_of(why.until, "--for").isoformat()
    with command_errors():
        if bool(addresses) == (listed.file is not None):
            raise CommandError("give addresses, or --file with them")
        if listed.file is None:
            given = [
                Recipient(at, each, {}) for at, each in enumerate(addresses or (), 1)
            ]
            found = _added(reach, given, body)
        else:
            with opened(listed.file) as octets:
                found = _added(reach, _rows_of(octets, listed), body)
    _show_added(found, as_json, is_file=listed.file is not None)
    if found.invalid:
        raise typer.Exit(_EXIT_NOTHING)


@suppression_app.command("remove")
@with_groups
def remove(
    reach: Reach,
    whose: Whose,
    address: AddressArgument,
    as_json: JsonOption = False,
) -> None:
    """End one suppression: that of all streams, or with --stream of this one.

    Exits with 1 when there is none.
    """
    params = whose.to_params()
    path = f"{SUPPRESSIONS}/{quote(address, safe='@')}"
    found = reach.run_any(lambda door: door.ask("DELETE", path, params=params))
    if as_json:
        print(json.dumps(found))
    else:
        done = "is removed" if found["removed"] else "was not there"
        print(f"{printable(found['email'])}: the suppression {done}")
        for each in found["suppressions"]:
            print(f"  still: {suppression_text(each)}")
    if not found["removed"]:
        raise typer.Exit(_EXIT_NOTHING)


@suppression_app.command("check")
@with_groups
def check(
    reach: Reach,
    address: AddressArgument,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what stops mail to an address, by whom and why; exits with 1 if nothing does."""
    params = _params(tenant=tenant)
    path = f"{SUPPRESSIONS}/{quote(address, safe='@')}"
    found = reach.run_any(lambda door: door.ask("GET", path, params=params))
    if as_json:
        print(json.dumps(found))
    elif not found["suppressions"]:
        print(f"{printable(found['email'])} is not suppressed")
    else:
        print(printable(found["email"]))
        for each in found["suppressions"]:
            print(f"  {suppression_text(each)}")
    if not found["suppressions"]:
        raise typer.Exit(_EXIT_NOTHING)


@suppression_app.command("list")
@with_groups
def list_suppressions(
    reach: Reach,
    whose: Whose,
    reason: Annotated[str | None, typer.Option("--reason", help="Only for it.")] = None,
    after: Annotated[str, typer.Option("--after", help="Go on after this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List suppressions of a tenant, the oldest first, by subject: no address is kept."""
    page = _params(reason=reason, after=after, limit=limit)
    params = {**whose.to_params(), **page}
    found = reach.run_any(lambda door: door.ask("GET", SUPPRESSIONS, params=params))
    if as_json:
        print(json.dumps(found))
        return
    for each in found["suppressions"]:
        print(f"{each['subject']} {suppression_text(each)}")
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


def suppression_text(each: Mapping[str, Any]) -> str:
    """Say whose mail a suppression stops, why, by whom, since and until when."""
    whose = "everyone's mail" if each["tenant"] is None else each["tenant"]
    stream = "all streams" if each["stream"] is None else each["stream"]
    note = f" ({each['note']})" if each["note"] else ""
    until = f" until {each['ends_at'][:19]}Z" if each["ends_at"] else ""
    text = f"{whose}, {stream}: {each['reason']}{note}, by {each['author']}"
    provisional = ", provisional" if each["is_provisional"] else ""
    return printable(f"{text}, {each['created_at'][:19]}Z{until}{provisional}")


def _added(
    reach: Reach,
    rows: Iterable[Recipient],
    body: Mapping[str, Any],
) -> _Sum:
    found = _Sum()

    async def work(door: OperatorDoor) -> None:
        left = iter(rows)
        done = 0
        with bar("suppressing") as report:
            while some := list(islice(left, ADDRESSES_MAX)):
                sent = {**body, "addresses": [each.email[:1024] for each in some]}
                answer = await door.ask("POST", SUPPRESSIONS, body=sent)
                found.added += answer["added"]
                found.kept += answer["kept"]
                found.invalid += [
                    {"line": some[each["index"]].line, "message": each["message"]}
                    for each in answer["invalid"]
                ]
                done += len(some)
                report(done, None)

    reach.run_any(work)
    return found


def _show_added(found: _Sum, as_json: bool, *, is_file: bool) -> None:
    if as_json:
        counts = {"added": found.added, "kept": found.kept}
        print(json.dumps({**counts, "invalid": found.invalid}))
        return
    print(f"added {found.added}; suppressed before {found.kept}")
    what = "line" if is_file else "address"
    for each in found.invalid[:_INVALID_SHOWN]:
        print(f"{what} {each['line']}: {printable(each['message'])}", file=sys.stderr)
    if more := len(found.invalid[_INVALID_SHOWN:]):
        print(f"and {more} more that are no addresses (--json: all)", file=sys.stderr)


def _rows_of(file: BinaryIO, listed: Listed) -> Iterator[Recipient]:
    try:
        dialect = find_dialect(file, encoding=listed.encoding)
        head = list(islice(records(file, dialect), _HEAD_ROWS))
        columns = find_columns(head, parse_asked(listed.column or ()))
        yield from recipients(records(file, dialect), columns)
    except SpreadsheetError as error:
        raise CommandError(f"{listed.file}: {error}") from None


def _params(**given: str | int | bool | None) -> dict[str, str | int | bool]:
    return {name: value for name, value in given.items() if value}
