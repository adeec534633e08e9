"""``mailwright campaign create``, ``change``, ``preview`` and ``test``."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mailwright.cli.campaign_names import CAMPAIGNS, IdArgument, path_of
from mailwright.cli.ends import end_of
from mailwright.cli.failures import EXIT_SETTINGS, CommandError, command_errors
from mailwright.cli.given_file import text_of
from mailwright.cli.job_file import (
    JobFileError,
    body_of,
    fields_of,
    parse_job,
    template_of,
    window_of,
)
from mailwright.cli.operator import JsonOption, RefusedError
from mailwright.cli.option_groups import with_groups
from mailwright.cli.reaching import ApiDoor, TenantReach
from mailwright.config.problems import printable

#: Takes a limit away.
_NONE: Final = "none"
_WHEN: Final = "2h from now, or 2026-03-01T08:00+00:00"


@dataclass(frozen=True, slots=True)
class Said:
    """What a campaign says; in place of what the job file says."""

    subject: Annotated[str | None, typer.Option("--subject", help="A template.")] = None
    html: Annotated[
        Path | None, typer.Option("--html", help="File with the html template.")
    ] = None
    text: Annotated[
        Path | None,
        typer.Option("--text", help="File with the text template; else from the html."),
    ] = None
    template: Annotated[
        str | None,
        typer.Option("--template", help="A stored one: NAME or NAME@VERSION."),
    ] = None
    author: Annotated[
        str | None, typer.Option("--from", help="Mailbox in a sending domain.")
    ] = None


@dataclass(frozen=True, slots=True)
class When:
    """When and how fast it leaves; in place of what the job file says."""

    send_at: Annotated[str | None, typer.Option("--send-at", help=f"{_WHEN}.")] = None
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help=f"Given up by then: {_WHEN}.")
    ] = None
    pace: Annotated[
        str | None, typer.Option("--pace", help="At most so many, such as 5000/h.")
    ] = None
    window: Annotated[
        list[str] | None,
        typer.Option("--window", help="Hours to send in: mon-fri 09:00-18:00."),
    ] = None
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", help="Of the window, such as Europe/Rome."),
    ] = None
    recipient_timezone: Annotated[
        bool,
        typer.Option(
            "--recipient-timezone", help="Of the recipient, where it has one."
        ),
    ] = False

    def members(self) -> dict[str, Any]:
        """Return the members that were given.

        Raises:
            JobFileError: a window that is not written right.
            typer.BadParameter: a time that is none.
        """
        found: dict[str, Any] = {}
        for name, value in (("send_at", self.send_at), ("expires_at", self.expires_at)):
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                found[name] = (
                    None if value == _NONE else end_of(value, option).isoformat()
                )
        if self.pace is not None:
            found["pace"] = None if self.pace == _NONE else self.pace
        if self.window == [_NONE]:
            found["window"] = None
        elif self.window:
            found["window"] = window_of(
                self.window, self.timezone, by_recipient=self.recipient_timezone
            )
        elif self.timezone is not None or self.recipient_timezone:
            raise JobFileError("--timezone is that of a --window: give one")
        return found


@with_groups
def create_command(
    reach: TenantReach,
    said: Said,
    when: When,
    job: Annotated[
        Path | None,
        typer.Argument(metavar="JOB", help="TOML or JSON with what the API takes."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="For people and reports.")
    ] = None,
    stream: Annotated[str | None, typer.Option("--stream")] = None,
    list_url: Annotated[
        str | None,
        typer.Option("--list-url", help="Where its recipients are read from."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", help="The same one again creates nothing again."
        ),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="At once: with a list that comes along.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a campaign and print its id; its recipients are uploaded next.

    Templates are compiled now: a broken one is refused with field, line and reason.
    """
    with command_errors():
        given = {"name": name, "stream": stream, "list_url": list_url}
        overrides = {each: value for each, value in given.items() if value is not None}
        body = _body(job, {**overrides, **_said(said), **_checked(when)})
    if start:
        body["start"] = True
    key = idempotency_key
    headers = {} if key is None else {"Idempotency-Key": key}

    async def work(door: ApiDoor) -> Any:
        try:
            return await door.ask("POST", CAMPAIGNS, body=body, headers=headers)
        except RefusedError as error:
            raise error.with_fields() from None

    found = reach.run_api(work)
    if as_json:
        print(json.dumps(found))
        return
    # The id alone on standard output, so that a script can keep it.
    text = f"created {found['name']!r} as {found['state']}; its id:"
    print(printable(text), file=sys.stderr)
    print(found["id"])


@with_groups
def change_command(
    ident: IdArgument,
    reach: TenantReach,
    when: When,
    name: Annotated[str | None, typer.Option("--name")] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Leave from it; none: the stream's.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=0, max=7, help="0 goes first.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change pace, pool, window, expiry, priority or name, also while it runs.

    `none` takes a limit away. Acts within two seconds on what is not on the wire.
    """
    with command_errors():
        body = _checked(when)
        if pool is not None:
            body["pool"] = None if pool == _NONE else pool
        given = {"name": name, "priority": priority}
        body |= {each: value for each, value in given.items() if value is not None}
        if not body:
            raise CommandError("say what to change")
    path = path_of(ident)
    found = reach.run_api(lambda door: door.ask("PATCH", path, body=body))
    print(json.dumps(found) if as_json else f"{ident} is changed")


@dataclass(frozen=True, slots=True)
class Recipient:
    """For whom it is rendered."""

    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME=VALUE", help="Of the recipient."),
    ] = None
    variant: Annotated[str | None, typer.Option("--variant")] = None

    def members(self) -> dict[str, Any]:
        """Return the members of a request.

        Raises:
            JobFileError: a field that is not written right.
        """
        found: dict[str, Any] = {"fields": fields_of(self.field or ())}
        if self.variant is not None:
            found["variant"] = self.variant
        return found


@with_groups
def preview_command(
    ident: IdArgument,
    reach: TenantReach,
    recipient: Recipient,
    email: Annotated[
        str | None, typer.Option("--email", help="Address of the recipient.")
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Print the html instead of the text.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a recipient would see, and what to look at before it is sent."""
    with command_errors():
        body = _wrong_usage(recipient.members)
    if email is not None:
        body["email"] = email
    path = path_of(ident, "preview")
    found = reach.run_api(lambda door: door.ask("POST", path, body=body))
    if as_json:
        print(json.dumps(found))
        return
    print(f"From: {printable(found['author'])}")
    print(f"Subject: {printable(found['subject'])}")
    for name, value in found["headers"].items():
        print(printable(f"{name}: {value}"))
    print()
    shown = found["html"] if html else found["text"]
    for line in (shown or "").splitlines():
        print(printable(line))
    for each in found["lint"]:
        text = f"{each['severity']}: {each['where']}: {each['message']}"
        print(printable(text), file=sys.stderr)


@with_groups
def send_test_command(
    ident: IdArgument,
    reach: TenantReach,
    recipient: Recipient,
    to: Annotated[
        list[str], typer.Option("--to", help="Address; may be given several times.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Send rendered copies now; they count in no figure of the campaign."""
    with command_errors():
        body = {"to": to, **_wrong_usage(recipient.members)}
    path = path_of(ident, "test")
    found = reach.run_api(lambda door: door.ask("POST", path, body=body))
    if as_json:
        print(json.dumps(found))
        return
    for message in found["messages"]:
        for each in message["recipients"]:
            print(printable(f"{message['id']} {each['address']}: {each['state']}"))


def _body(job: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that creates a campaign.

    Raises:
        CommandError: the job file is not right.
        typer.Exit: likewise, after it was said.
    """
    try:
        if job is None:
            return body_of({}, overrides, Path(), Path.read_bytes)
        is_json = job.suffix.lower() == ".json"
        parsed = parse_job(text_of(job), is_json=is_json)
        return body_of(parsed, overrides, job.parent, Path.read_bytes)
    except JobFileError as error:
        raise _usage(f"{job or 'the command line'}: {error}") from None


def _said(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = {"subject": said.subject, "from": said.author}
    found = {name: value for name, value in found.items() if value is not None}
    for name, path in (("html", said.html), ("text", said.text)):
        if path is not None:
            found[name] = text_of(path)
    if said.template is not None:
        wanted = said.template
        found["template"] = _wrong_usage(lambda: template_of(wanted))
    return found


def _checked(when: When) -> dict[str, Any]:
    return _wrong_usage(when.members)


def _wrong_usage(work: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = work()
    except JobFileError as error:
        raise _usage(str(error)) from None
    return found


def _usage(text: str) -> typer.Exit:
    print(printable(text), file=sys.stderr)
    return typer.Exit(EXIT_SETTINGS)
