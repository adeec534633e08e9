"""The reference page and the JSON Schema, made from the schemas: they cannot lie."""

import inspect
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from mailwright.config.keys import Key, defaults_of, keys_of
from mailwright.config.node import NodeSettings
from mailwright.config.section import Section
from mailwright.config.setup import SetupFile
from mailwright.config.toml import format_value
from mailwright.config.units import format_duration

_TYPES: Final[Mapping[str, str]] = {
    "integer": "whole number",
    "boolean": "true or false",
    "string": "text",
}

_INTRODUCTION: Final = """\
# Settings

<!-- Made by `mailwright config reference`; do not edit. -->

There are two TOML files. The **node file** says what is true of one node only. The
**setup file** holds what all nodes share: it is applied to an empty database once
(`bootstrap` in the node file), later with `mailwright apply FILE`; `mailwright export`
prints what is in force ([how to change settings](../how-to/settings.md)).

`mailwright config check FILE` says what is wrong in either of them, `config show FILE`
prints every effective value, `config example` a sample.

* A **duration** is a number with `d`, `h`, `m`, `s` or `ms`, largest first: `"90s"`,
  `"1h30m"`.
* A **size** is a number of octets, or has `KB`, `MB`, `GB` (thousands) or `KiB`, `MiB`,
  `GiB` (1024s): `"25MB"`.
* A **path** that is relative starts at the folder of the file that names it.
* A **name** has up to 63 of a–z, 0–9, dot, hyphen and underscore.
* **Live**: a running node takes a change over on SIGHUP. All else waits for a restart,
  and the node says so.
"""


class _JsonSchema(GenerateJsonSchema):
    """Pydantic's, with defaults spelled as a file would."""

    @override
    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return format_duration(dft)
            case tuple():
                return [self.encode_default(each) for each in dft]
            case _:
                return super().encode_default(dft)


def json_schema(schema: type[Section]) -> dict[str, Any]:
    """Return the JSON Schema of a file, for editors that complete and check TOML."""
    return schema.model_json_schema(by_alias=True, schema_generator=_JsonSchema)


def reference_page() -> str:
    """Return the page on both files as Markdown."""
    parts = [_INTRODUCTION]
    for title, schema in (("Node file", NodeSettings), ("Setup file", SetupFile)):
        parts.append(f"## {title}\n")
        parts += _tables(schema, "")
    return "\n".join(parts)


def _tables(schema: type[Section], place: str) -> Iterator[str]:
    """Yield the keys of a table, then its tables, depth first."""
    shape, defaults = json_schema(schema), defaults_of(schema)
    rows = [
        _row(key, shape, defaults.get(key.name))
        for key in keys_of(schema)
        if key.table is None
    ]
    if rows:
        yield "| key | value | default | example | live | meaning |"
        yield "|---|---|---|---|---|---|"
        yield from rows
        yield ""
    for key in keys_of(schema):
        if key.table is None:
            continue
        name = f"{place}.{key.name}".lstrip(".")
        yield f"### `[[{name}]]`\n" if key.is_repeated else f"### `[{name}]`\n"
        yield f"{_table_text(key)}\n"
        yield from _tables(key.table, name)


def _table_text(key: Key) -> str:
    """Return what a table is: its own docstring, which says more than its key."""
    return inspect.getdoc(key.table) or key.text


def _row(key: Key, shape: Mapping[str, Any], default: Any) -> str:
    value = _value_text(shape["properties"][key.name], shape.get("$defs", {}))
    cells = (
        f"`{key.name}`",
        ", ".join(filter(None, (value, key.unit, _bounds(key)))),
        _default_text(key, default),
        f"`{format_value(key.example)}`",
        "yes" if key.is_live else "",
        key.text,
    )
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _default_text(key: Key, default: Any) -> str:
    if key.field.is_required():
        return "**required**"
    if key.default_text:
        return key.default_text
    return "" if default is None else f"`{format_value(default)}`"


def _bounds(key: Key) -> str:
    """Return the least and the greatest value, as they would be written."""
    words = {"from": key.bound("ge"), "up to": key.bound("le")}
    texts = [f"{word} {bound}" for word, bound in words.items() if bound]
    return " ".join(texts)


def _value_text(shape: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return what kind of value a JSON schema describes."""
    if "$ref" in shape:
        return _value_text(defs[shape["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in shape:
        kinds = (each for each in shape["anyOf"] if each.get("type") != "null")
        return " or ".join(_value_text(each, defs) for each in kinds)
    if "enum" in shape:
        return ", ".join(f"`{each}`" for each in shape["enum"])
    if shape.get("type") == "array":
        return f"list of: {_value_text(shape['items'], defs)}"
    if shape.get("type") == "object":
        return "table of: " + _value_text(shape["additionalProperties"], defs)
    if "x-kind" in shape:
        return str(shape["x-kind"])
    return _TYPES.get(shape["type"], shape["type"])
