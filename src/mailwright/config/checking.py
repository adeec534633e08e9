"""Check settings files as an operator would want before a start.

Beyond loading: the files that they name are there, the node file's bootstrap is right
too, and the two agree. Reads disk, changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mailwright.config.keys import keys_of, walk
from mailwright.config.loading import load_setup, read_toml, validate
from mailwright.config.nearest import did_you_mean
from mailwright.config.node import NodeSettings
from mailwright.config.problems import Problem, SettingsError, format_key, printable
from mailwright.config.section import Section
from mailwright.config.setup import SetupFile


class FileKind(StrEnum):
    """Which of the two settings files one is."""

    NODE = "node"
    SETUP = "setup"

    @property
    def schema(self) -> type[Section]:
        """What such a file may say."""
        return NodeSettings if self is FileKind.NODE else SetupFile


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        files: those that were checked, the one asked for first.
        problems: none: all is well.
        is_unreadable: the file asked for could not be read at all.
    """

    files: tuple[tuple[Path, FileKind], ...]
    problems: tuple[Problem, ...] = ()
    is_unreadable: bool = False


def kind_of(data: dict[str, Any]) -> FileKind:
    """Return which file ``data`` is from, by its keys; a node's when that is open."""
    known = {
        kind: sum(key.name in data for key in keys_of(kind.schema)) for kind in FileKind
    }
    more_setup = known[FileKind.SETUP] > known[FileKind.NODE]
    return FileKind.SETUP if more_setup else FileKind.NODE


def check(path: Path, kind: FileKind | None = None, *, files: bool = True) -> Report:
    """Check the settings file ``path`` and the bootstrap file that it names.

    Args:
        path: the file.
        kind: which of the two it is; ``None``: told by its keys.
        files: whether the files named in it must be there.
    """
    try:
        data = read_toml(path)
        kind = kind or kind_of(data)
        settings = validate(kind.schema, data, path)
    except SettingsError as error:
        asked = ((path, kind or FileKind.NODE),)
        return Report(asked, error.problems, error.is_unreadable)
    below = Report(())
    if isinstance(settings, NodeSettings) and settings.bootstrap is not None:
        below = _check_bootstrap(settings, settings.bootstrap, path, files=files)
    missing = tuple(_missing_files(settings, path)) if files else ()
    return Report(((path, kind), *below.files), (*missing, *below.problems))


def _check_bootstrap(
    node: NodeSettings, path: Path, node_path: Path, *, files: bool
) -> Report:
    checked = ((path, FileKind.SETUP),)
    try:
        setup = load_setup(path)
    except SettingsError as error:
        if not error.is_unreadable:
            return Report(checked, error.problems)
        what = f"{printable(str(path))} {error.problems[0].what}"
        problem = Problem(node_path, "bootstrap", what, "name the setup file")
        return Report((), (problem,))
    problems = list(disagreements(node, setup, node_path))
    if files:
        problems += _missing_files(setup, path)
    return Report(checked, tuple(problems))


def disagreements(
    node: NodeSettings, setup: SetupFile, node_path: Path
) -> Iterator[Problem]:
    """Yield where a node's file refers to what its setup file does not define."""
    known = [each.name for each in setup.credential]
    for index, listener in enumerate(node.smtp):
        name = listener.credential
        if name is not None and name not in known:
            yield Problem(
                node_path,
                format_key(("smtp", index, "credential")),
                f'there is no credential "{name}" in the bootstrap file',
                did_you_mean(name, known) or "define it there in [[credential]]",
            )


def _missing_files(settings: Section, path: Path) -> Iterator[Problem]:
    for place, key, value in walk(settings):
        if not key.is_read or value is None:
            continue
        try:
            with Path(value).open("rb") as file:
                file.read(1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield Problem(
                path,
                format_key(place),
                f"{printable(str(value))} cannot be read: {reason}",
                "put the file there, or correct the path",
            )
