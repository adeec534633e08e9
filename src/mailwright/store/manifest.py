"""What a backup says of itself, and whether its files are what it says.

A backup is a folder: the database, the bodies that rows name, ``bodies.list`` with their
sums, and ``manifest.json``, which is written last. A folder without it is no backup.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mailwright.store.migrate import SCHEMA_VERSION
from mailwright.store.ports import StoreError

DATABASE: Final = "mailwright.db"
BODIES: Final = "bodies"
BODY_LIST: Final = "bodies.list"
MANIFEST: Final = "manifest.json"
#: Of the folder's layout.
FORMAT: Final = 1
NO_NODE_KEY: Final = (
    "the node key is not in this backup: without its copy, kept elsewhere, the sealed "
    "keys and passwords in the database open to nobody"
)

_CHUNK: Final = 1 << 20
_LINE: Final = re.compile(r"([0-9a-f]{64}) ([0-9]{1,12}) ([0-9]{8}/[0-9a-f]{16})")

#: Is told what is done, how much of it is, and how much there is.
Progress = Callable[[str, int, int], None]


class BackupError(StoreError):
    """A backup cannot be made or used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Attributes:
        version: of the program that made it.
        schema: version of the database's schema.
        node: name of the node.
        taken_at: the instant of the snapshot, ISO 8601: all that was acknowledged before
            is in it.
        epoch: of the start during which it was taken.
        counts: rows, by what they are.
        bodies_sha256: of ``bodies.list``.
        note: what people should know.
    """

    version: str
    schema: int
    node: str
    taken_at: str
    epoch: int
    counts: Mapping[str, int]
    database_octets: int
    database_sha256: str
    bodies: int
    bodies_octets: int
    bodies_sha256: str
    format: int = FORMAT
    note: str = NO_NODE_KEY

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Return what :meth:`to_json` wrote.

        Raises:
            BackupError: it is no manifest, or one that this program cannot use.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            made = cls(**values)
        except (ValueError, TypeError) as error:
            raise BackupError(f"{MANIFEST} cannot be read: {error}") from error
        if made.format != FORMAT:
            raise BackupError(f"format {made.format} of the backup is not known here")
        if made.schema > SCHEMA_VERSION:
            raise BackupError(
                f"the backup has schema {made.schema}; this mailwright knows "
                f"{SCHEMA_VERSION}: install one of version {made.version} or later"
            )
        return made


@dataclass(frozen=True, slots=True)
class Body:
    """A body in a backup: a line of ``bodies.list``."""

    sha256: str
    octets: int
    name: str

    def to_line(self) -> str:
        """Return its line, with the end."""
        return f"{self.sha256} {self.octets} {self.name}\n"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the backup in ``folder``.

    Raises:
        BackupError: there is none, or it cannot be used.
    """
    try:
        text = (folder / MANIFEST).read_text()
    except FileNotFoundError:
        raise BackupError(
            f"{folder} is no backup: it has no {MANIFEST} (one that was interrupted "
            "never got it)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{folder / MANIFEST} cannot be read: {error}") from error
    return Manifest.from_json(text)


def read_bodies(folder: Path) -> Iterator[Body]:
    """Yield the lines of ``bodies.list``.

    Raises:
        BackupError: it is damaged.
    """
    with (folder / BODY_LIST).open(encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            found = _LINE.fullmatch(line.rstrip("\n"))
            if found is None:
                raise BackupError(f"line {number} of {BODY_LIST} is damaged")
            yield Body(found[1], int(found[2]), found[3])


def verify(folder: Path, progress: Progress) -> Manifest:
    """Return the manifest, once every file is found to be what it says; reads all.

    Raises:
        BackupError: a file is missing, or not what was written; the text names it.
    """
    manifest = read_manifest(folder)
    try:
        _expect(
            folder / DATABASE,
            manifest.database_sha256,
            manifest.database_octets,
            lambda done: progress("database", done, manifest.database_octets),
        )
        _expect(folder / BODY_LIST, manifest.bodies_sha256, None)
        seen = 0
        for body in read_bodies(folder):
            _expect(folder / BODIES / body.name, body.sha256, body.octets)
            seen += 1
            progress("bodies", seen, manifest.bodies)
    except OSError as error:
        raise BackupError(f"the backup is incomplete: {error}") from error
    if seen != manifest.bodies:
        raise BackupError(f"{BODY_LIST} names {seen} bodies of {manifest.bodies}")
    return manifest


def sum_of(
    path: Path, told: Callable[[int], None] = lambda _done: None
) -> tuple[str, int]:
    """Return the SHA-256 (hex) and the octets of a file.

    Raises:
        OSError: it cannot be read.
    """
    hashed, octets = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            octets += len(chunk)
            told(octets)
    return hashed.hexdigest(), octets


def _expect(
    path: Path,
    sha256: str,
    octets: int | None,
    told: Callable[[int], None] = lambda _done: None,
) -> None:
    found, length = sum_of(path, told)
    if found != sha256 or octets not in {None, length}:
        raise BackupError(f"{path} is not what was backed up: it has changed since")
