"""``mailwright apply``, ``export`` and ``settings``: the settings that all nodes share."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mailwright.accounts.settings.document import format_document
from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.operator import (
    JsonOption,
    OperatorDoor,
    RefusedError,
    SettingsOption,
    run_operation,
)
from mailwright.config.keys import walk
from mailwright.config.loading import load_setup, read_toml
from mailwright.config.problems import (
    Problem,
    SettingsError,
    format_key,
    printable,
)
from mailwright.config.setup import SetupFile

settings_app = typer.Typer(
    help="See who changed the shared settings, when and why.", no_args_is_help=True
)

_PATH: Final = "/v1/settings"
_MAX_SECRET_FILE_OCTETS: Final = 65_536
_MARKS: Final = {
    "added": "+",
    "changed": "~",
    "retired": "-",
    "restored": "+",
    "revoked": "-",
    "proven": "~",
    "unproven": "~",
}


def apply_command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A setup file.")],
    settings: SettingsOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would change.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for `settings log`.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Bring the shared settings to what a setup file says; a node that runs obeys at once.

    What the file does not name is retired: queued mail that needs it stays, and naming it
    again brings it back. A file that was exported is refused when the settings changed
    since. Exits with 2 when the file is wrong, and with 1 when it cannot be applied.
    """
    with command_errors():
        body = _request(path, reason)

    async def work(door: OperatorDoor) -> Any:
        try:
            return await door.ask("PUT", _PATH, params={"dry_run": dry_run}, body=body)
        except RefusedError as error:
            raise _named(error, path) from None

    applied = run_operation(settings, work)
    if as_json:
        print(json.dumps(applied))
        return
    for line in difference(applied["changes"]):
        print(line)
    print(_outcome(applied))


def export_command(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Print the shared settings as a setup file; secrets are named, not shown.

    Applying what it prints changes nothing.
    """
    document = run_operation(settings, lambda door: door.ask("GET", _PATH))
    print(json.dumps(document) if as_json else format_document(document), end="")
    if as_json:
        print()


@settings_app.command("log")
def log_command(
    settings: SettingsOption,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most.")] = 20,
    before: Annotated[
        int | None, typer.Option(min=1, help="Only versions below this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of the shared settings, the newest first."""
    params = {"limit": limit} | ({} if before is None else {"before": before})
    found = run_operation(
        settings, lambda door: door.ask("GET", f"{_PATH}/log", params=params)
    )
    if as_json:
        print(json.dumps(found))
        return
    for each in found["versions"]:
        print(_heading(each))
        print(f"    {printable(each['summary'])}")


@settings_app.command("show")
def show_command(
    version: Annotated[int, typer.Argument(min=1, help="As in `settings log`.")],
    settings: SettingsOption,
    as_json: JsonOption = False,
) -> None:
    """Print what a version changed, and the settings as they were after it."""

    async def work(door: OperatorDoor) -> Any:
        try:
            return await door.ask("GET", f"{_PATH}/log/{version}")
        except RefusedError as error:
            if error.problem.get("status") == 404:
                raise CommandError(f"there is no version {version}") from None
            raise

    found = run_operation(settings, work)
    if as_json:
        print(json.dumps(found))
        return
    print(f"# {_heading(found)}")
    for line in difference(found["changes"]):
        print(f"# {line}")
    if found["settings"] is not None:
        print()
        print(format_document(found["settings"]), end="")


def _heading(version: Mapping[str, Any]) -> str:
    at = str(version["at"])[:19] + "Z"
    line = f"version {version['version']}, {at}, {version['author']}"
    return printable(f"{line}: {version['reason']}" if version["reason"] else line)


def difference(changes: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield one line for each change, as the API gives it."""
    for each in changes:
        mark, name = _MARKS.get(each["action"], "~"), printable(each["name"])
        line = f"{mark} {each['kind']} {name}"
        if each["action"] not in ("added", "changed"):
            line += f" ({each['action']})"
        details = list(_details(each))
        yield f"{line}: {'; '.join(details)}" if details else line


def _details(change: Mapping[str, Any]) -> Iterator[str]:
    is_new = change["action"] == "added"
    for name, value in change["fields"].items():
        if is_new:
            if value is not None:
                yield f"{name} {_shown(value)}"
        else:
            yield f"{name} {_shown(value['from'])} → {_shown(value['to'])}"
    if change.get("secret"):
        yield "new secret"


def _shown(value: Any) -> str:
    return "none" if value is None else printable(json.dumps(value, ensure_ascii=False))


def _outcome(applied: Mapping[str, Any]) -> str:
    if not applied["changes"]:
        return f"nothing to change; the settings are at version {applied['version']}"
    if applied["dry_run"]:
        return f"nothing was changed; the settings are at version {applied['version']}"
    return f"applied; the settings are at version {applied['version']}"


def _request(path: Path, reason: str) -> dict[str, Any]:
    """Return the request that applies the setup file ``path``, with what it names.

    Raises:
        SettingsError: the file is wrong, or a file that it names cannot be read.
    """
    load_setup(path)  # says what is wrong, and where
    data = read_toml(path)
    as_written = SetupFile.model_validate(data)
    files: dict[str, str] = {}
    problems = []
    for place, key, value in walk(as_written):
        if not key.is_read or value is None:
            continue
        named = path.absolute().parent / value
        try:
            files[str(value)] = _text(named)
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            problems.append(
                Problem(
                    named,
                    format_key(place),
                    f"cannot be read: {what}",
                    "correct the path; what is in the database already is named by "
                    '"kept" (see: mailwright export)',
                )
            )
    if problems:
        raise SettingsError(problems)
    return {"settings": data, "files": files, "reason": reason}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        octets = file.read(_MAX_SECRET_FILE_OCTETS + 1)
    if len(octets) > _MAX_SECRET_FILE_OCTETS:
        raise ValueError("it is over 64 KiB")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _named(error: RefusedError, path: Path) -> CommandError:
    """Return ``error`` with the file and the keys at fault."""
    lines = [
        f"{path}: {each['field'].removeprefix('settings.')}: {each['message']}"
        for each in error.problem.get("errors", ())
    ]
    text = "\n".join(map(printable, lines))
    return CommandError(text) if text else error
