"""The keys that a schema knows: what pydantic holds of them, in our words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from pydantic.fields import FieldInfo

from mailwright.config.problems import KeyPath
from mailwright.config.section import Section
from mailwright.config.units import format_duration, format_size


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table.

    Attributes:
        name: as written in the file.
        attribute: as named in Python.
        table: the schema of the table under it, if it holds one or a list of them.
        is_repeated: it holds a list of tables.
    """

    name: str
    attribute: str
    field: FieldInfo
    table: type[Section] | None
    is_repeated: bool

    @property
    def _extra(self) -> Mapping[str, Any]:
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, dict) else {}

    @property
    def text(self) -> str:
        """What it means."""
        return self.field.description or ""

    @property
    def example(self) -> Any:
        """A plain value that is right, as TOML would give it."""
        return self.field.examples[0] if self.field.examples else None

    @property
    def unit(self) -> str:
        """What its number counts, or ``""``."""
        return str(self._extra.get("x-unit", ""))

    @property
    def is_live(self) -> bool:
        """Whether a running node takes a change over."""
        return bool(self._extra.get("x-live"))

    @property
    def is_read(self) -> bool:
        """Whether it names a file that must be there when the settings are used."""
        return bool(self._extra.get("x-reads"))

    @property
    def is_in_sample(self) -> bool:
        """Whether the printed sample sets it."""
        return self.field.is_required() or bool(self._extra.get("x-sample"))

    def bound(self, name: str) -> str:
        """Return the bound ``ge`` or ``le`` as the file would spell it, ``""`` for none."""
        # Pydantic keeps each constraint as an object with one attribute.
        found = (getattr(each, name, None) for each in self.field.metadata)
        match next((each for each in found if each is not None), None):
            case None:
                return ""
            case timedelta() as duration:
                return f'"{format_duration(duration)}"'
            case int(octets) if isinstance(self.example, str):
                return f'"{format_size(octets)}"'
            case number:
                return str(number)

    @property
    def default_text(self) -> str:
        """The default in words, if it follows from other keys."""
        return str(self._extra.get("x-default-text", ""))


def keys_of(schema: type[Section]) -> Iterator[Key]:
    """Yield the keys of a table in the order in which the schema defines them."""
    for attribute, field in schema.model_fields.items():
        table, is_repeated = _table_of(field.annotation)
        yield Key(field.alias or attribute, attribute, field, table, is_repeated)


def key_at(schema: type[Section], path: KeyPath) -> Key | None:
    """Return the key that ``path`` leads to or through last, ``None`` if none does."""
    found = None
    for part in path:
        if isinstance(part, int):
            continue  # an item is described by its list's key
        key = next((each for each in keys_of(schema) if each.name == part), None)
        if key is None:
            break
        found = key
        if key.table is None:
            break
        schema = key.table
    return found


def table_at(schema: type[Section], path: KeyPath) -> type[Section]:
    """Return the schema of the table that ``path`` leads to; the last known one."""
    for part in path:
        for key in keys_of(schema):
            if key.name == part and key.table is not None:
                schema = key.table
    return schema


def _table_of(annotation: Any) -> tuple[type[Section] | None, bool]:
    """Return the section in a field's annotation, and whether it is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for inner in get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, Section):
            return inner, True
    return None, False


def plain(section: Section) -> dict[str, Any]:
    """Return a table as TOML would give it; ``None`` where a key is not set.

    Secrets are stars.
    """
    return section.model_dump(mode="json", by_alias=True)


def defaults_of(schema: type[Section]) -> dict[str, Any]:
    """Return the defaults of a table as TOML would give them, by key.

    ``None`` where an optional key has none; required keys are absent. What follows from
    other keys has a placeholder; see :attr:`Key.default_text`.
    """
    silent = schema.model_construct()
    return silent.model_dump(mode="json", by_alias=True, warnings=False)


def walk(section: Section, before: KeyPath = ()) -> Iterator[tuple[KeyPath, Key, Any]]:
    """Yield place, key and value of every key that holds no table, at any depth."""
    for key in keys_of(type(section)):
        value, place = getattr(section, key.attribute), (*before, key.name)
        if key.table is None:
            yield place, key, value
        elif key.is_repeated:
            for index, each in enumerate(value):
                yield from walk(each, (*place, index))
        else:
            yield from walk(value, place)
