"""★ A campaign as a file, TOML or JSON: the members of ``POST /v1/campaigns``, and files.

Beside the API's own members a file may say ``html_file`` and ``text_file``, and an
attachment ``file``, by paths from the job file's folder. What the command line gives
counts more than the file.
"""

import base64
import json
import mimetypes
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from mailwright.errors import MailwrightError

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RANGE: Final = re.compile(
    r"(?:(?P<days>[a-z,-]+)\s+)?(?P<since>\d\d:\d\d)\s*-\s*(?P<to>\d\d:\d\d)"
)

#: Returns the octets of a file; raises ``OSError``.
Read = Callable[[Path], bytes]


class JobFileError(MailwrightError):
    """A job file that is not right; the text names the member and what to do."""


def parse_job(text: str, *, is_json: bool) -> dict[str, Any]:
    """Return what a job file says.

    Raises:
        JobFileError: it is not of its format; with line and column.
    """
    try:
        found = json.loads(text) if is_json else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise JobFileError(
            f"line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise JobFileError(str(error)) from None
    if not isinstance(found, dict):
        raise JobFileError("is no object with members")
    return found


def body_of(
    job: Mapping[str, Any], overrides: Mapping[str, Any], folder: Path, read: Read
) -> dict[str, Any]:
    """Return the request that creates a campaign.

    Files that the job names are below ``folder``. ``overrides`` are members that were
    given otherwise; they take the place of what the job says.

    Raises:
        JobFileError: a file cannot be read, or a member is said in two ways.
    """
    body = {**job}
    for member in ("html", "text"):
        named = body.pop(f"{member}_file", None)
        if member in overrides or named is None:
            continue
        if member in body:
            raise JobFileError(f"has both {member} and {member}_file")
        body[member] = _text(read, folder, f"{member}_file", named)
    body.update(overrides)
    if {"subject", "html", "text"} & overrides.keys():
        body.pop("template", None)
    attachments = body.get("attachments")
    if isinstance(attachments, list):
        body["attachments"] = [
            _attachment(each, f"attachments[{at}]", folder, read)
            for at, each in enumerate(attachments)
        ]
    plain = _plain(body)
    assert isinstance(plain, dict)  # noqa: S101 - a dict stays one
    return plain


def window_of(
    ranges: Sequence[str], timezone: str | None, *, by_recipient: bool
) -> dict[str, Any]:
    """Return a delivery window: hours such as ``mon-fri 09:00-18:00`` and whose they are.

    Raises:
        JobFileError: hours that are not written so.
    """
    window: dict[str, Any] = {"ranges": [_range(each) for each in ranges]}
    if timezone is not None:
        window["timezone"] = timezone
    if by_recipient:
        window["recipient_timezone"] = True
    return window


def fields_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return fields from ``NAME=VALUE`` texts; a value that is JSON is taken as such.

    Raises:
        JobFileError: a text is not of that form.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise JobFileError(f"--field {text!r}: write NAME=VALUE")
        try:
            fields[name] = json.loads(value)
        except json.JSONDecodeError:
            fields[name] = value
    return fields


def template_of(text: str) -> dict[str, Any]:
    """Return the template that ``NAME`` or ``NAME@VERSION`` is.

    Raises:
        JobFileError: the version is no number.
    """
    name, at, version = text.partition("@")
    if not at:
        return {"name": name}
    if not version.isdecimal():
        raise JobFileError(f"--template {text!r}: write NAME or NAME@VERSION")
    return {"name": name, "version": int(version)}


def _range(text: str) -> dict[str, Any]:
    found = _RANGE.fullmatch(text.strip().lower())
    if found is None:
        raise JobFileError(
            f"--window {text!r}: write hours such as mon-fri 09:00-18:00"
        )
    hours: dict[str, Any] = {"from": found["since"], "to": found["to"]}
    if found["days"]:
        hours["days"] = [
            day for part in found["days"].split(",") for day in _days(part, text)
        ]
    return hours


def _days(part: str, text: str) -> Sequence[str]:
    first, dash, last = part.partition("-")
    last = last if dash else first
    if first not in _DAYS or last not in _DAYS:
        raise JobFileError(f"--window {text!r}: days are {', '.join(_DAYS)}")
    start, end = _DAYS.index(first), _DAYS.index(last)
    # A range may run over the week's end: sat-mon.
    count = (end - start) % len(_DAYS) + 1
    return [_DAYS[(start + at) % len(_DAYS)] for at in range(count)]


def _attachment(given: Any, place: str, folder: Path, read: Read) -> Any:
    if not isinstance(given, dict) or "file" not in given:
        return given
    if "content" in given:
        raise JobFileError(f"{place} has both content and file")
    path = folder / str(given["file"])
    guessed, _ = mimetypes.guess_type(path.name)
    members = {name: value for name, value in given.items() if name != "file"}
    return {
        "filename": path.name,
        "content_type": guessed or "application/octet-stream",
        **members,
        "content": base64.b64encode(_octets(read, path, f"{place}.file")).decode(),
    }


def _text(read: Read, folder: Path, member: str, named: Any) -> str:
    try:
        return _octets(read, folder / str(named), member).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise JobFileError(f"{member}: {named} is not UTF-8") from None


def _octets(read: Read, path: Path, member: str) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise JobFileError(f"{member}: {path}: {error.strerror or error}") from None


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: TOML's instants become text."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value
