"""Read a settings file: all of it, or every problem that is in it.

These functions read disk; call them from a thread when a loop is running. They read the
settings file only, not the files that it names (:mod:`mailwright.config.checking`).
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from mailwright.config.explain import problems_of
from mailwright.config.node import NodeSettings
from mailwright.config.problems import Problem, SettingsError
from mailwright.config.section import Section
from mailwright.config.setup import SetupFile

#: Sixty thousand sending domains fit; a device or a log given by mistake does not.
MAX_FILE_OCTETS: Final = 16 * 1024 * 1024
_TOML_PLACE: Final = re.compile(
    r" \(at (?:line (\d+), column (\d+)|end of document)\)$"
)

_S = TypeVar("_S", bound=Section)


def load_node(path: Path) -> NodeSettings:
    """Return the node's settings in ``path``.

    Raises:
        SettingsError: it cannot be read, is no TOML, or says something wrong.
    """
    return validate(NodeSettings, read_toml(path), path)


def load_setup(path: Path) -> SetupFile:
    """Return the setup file in ``path``.

    Raises:
        SettingsError: it cannot be read, is no TOML, or says something wrong.
    """
    return validate(SetupFile, read_toml(path), path)


def validate(schema: type[_S], data: dict[str, Any], path: Path) -> _S:
    """Return ``data``, read from ``path``, as a value of ``schema``.

    Paths in it are taken as relative to the folder of ``path``.

    Raises:
        SettingsError: with every problem at once.
    """
    try:
        return schema.model_validate(data, context={"base": path.absolute().parent})
    except ValidationError as error:
        raise SettingsError(problems_of(error, schema, path)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the keys of a TOML file.

    Raises:
        SettingsError: unreadable, too large, not UTF-8, or no TOML (with the place).
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem(
            path, "", f"cannot be read: {reason}", "check path and rights"
        )
        raise SettingsError([problem], is_unreadable=True) from None
    if len(octets) > MAX_FILE_OCTETS:
        raise SettingsError(
            [Problem(path, "", "is over 16 MiB", "name a settings file")]
        )
    try:
        return tomllib.loads(octets.decode())
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        column = error.start - octets.rfind(b"\n", 0, error.start)
        problem = Problem(
            path, "", "is not UTF-8", "save the file as UTF-8", line, column
        )
    except ValueError as error:  # TOMLDecodeError, or an integer of 4300 digits
        problem = _syntax_problem(path, str(error), octets)
    except RecursionError:
        problem = Problem(path, "", "is nested too deeply", "write it flat")
    raise SettingsError([problem])


def supplied_node_key(environ: Mapping[str, str]) -> Path | None:
    """Return the node key that systemd supplies (``LoadCredential=node.key:…``).

    It comes before ``node_key_file``; ``None`` when there is none.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, "node.key") if folder else None
    return path if path is not None and path.is_file() else None


def _syntax_problem(path: Path, message: str, octets: bytes) -> Problem:
    """Return the problem in ``message`` of tomllib, which ends with its place."""
    found = _TOML_PLACE.search(message)
    what = message[: found.start()] if found else message
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        line = octets.count(b"\n") + 1
        column = len(octets) - octets.rfind(b"\n")
    return Problem(
        path,
        "",
        f"is not TOML: {what[:1].lower()}{what[1:]}",
        "correct the file at this place",
        line,
        column,
    )
