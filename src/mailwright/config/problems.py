"""What is wrong in a settings file, in words an operator can act on."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from mailwright.errors import MailwrightError

#: A key's place in a file: ``("smtp", 0, "listen")``.
KeyPath = tuple[str | int, ...]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # TOML 1.0, "Keys"


class WrongValueError(MailwrightError, ValueError):
    """A value that a setting cannot have; validators raise it.

    Attributes:
        what: what is wrong.
        remedy: what to do, or what is accepted.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Complaint:
    """One key's problem, before it is known which file it is in."""

    key: KeyPath
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a settings file.

    Attributes:
        file: as the caller named it.
        key: such as ``smtp[0].listen``; ``""`` when the whole file is meant.
        what: what is wrong; never a secret, always one printable line.
        remedy: what to do.
        line: where TOML itself is broken, from 1; else ``None``.
        column: likewise.
    """

    file: Path
    key: str
    what: str
    remedy: str
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """The file, with line and column if they are known."""
        file = printable(str(self.file))
        return file if self.line is None else f"{file}:{self.line}:{self.column}"

    @override
    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.place}: {key}{self.what}; {self.remedy}"


class SettingsError(MailwrightError):
    """A settings file that cannot be used; nothing of it is.

    Attributes:
        problems: all of them, in the order of the file's schema; at least one.
        is_unreadable: the file could not be read at all.
    """

    def __init__(
        self, problems: Sequence[Problem], *, is_unreadable: bool = False
    ) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
        self.is_unreadable = is_unreadable


def format_key(path: Iterable[str | int]) -> str:
    """Return a key's place as text: ``smtp[0].listen``.

    A key that is not a bare one is quoted and escaped: it came from outside.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if _BARE_KEY.fullmatch(part) else json.dumps(part[:64])
        text += f".{name}" if text else name
    return text


def quoted(value: object) -> str:
    """Return ``value`` fit for a problem: one short line of printable ASCII."""
    text = json.dumps(value) if isinstance(value, str) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """Return ``text`` with whatever a terminal would act on escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
