"""Write TOML: values, and whole settings with their defaults marked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from mailwright.config.keys import Key, keys_of, plain
from mailwright.config.problems import KeyPath, format_key
from mailwright.config.section import Section


def format_value(value: Any) -> str:
    """Return a plain value (text, number, flag, list, mapping) as TOML on one line.

    Raises:
        TypeError: a value that TOML has no form for, such as ``None``.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            # JSON's escapes are a subset of TOML's basic string (TOML 1.0, "String").
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            pairs = [
                f"{format_key([name])} = {format_value(each)}"
                for name, each in value.items()
            ]
            return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
        case Iterable():
            return "[" + ", ".join(map(format_value, value)) + "]"
        case _:
            raise TypeError(f"TOML has no form for {type(value).__name__}")


def format_settings(settings: Section) -> str:
    """Return ``settings`` as a TOML file in which every effective value stands.

    What the file did not say is marked ``# default``; what is not set, and secrets, are
    comments. Without secrets the file means what ``settings`` mean.
    """
    return "\n".join(_lines(settings, ())).lstrip("\n") + "\n"


def _lines(section: Section, place: KeyPath) -> Iterator[str]:
    values = plain(section)
    # Plain keys first: after a table's header they would belong to that table.
    for key in keys_of(type(section)):
        if key.table is None:
            yield _line(section, key, values[key.name])
    for key in keys_of(type(section)):
        below = getattr(section, key.attribute)
        if key.table is None:
            continue
        header = ".".join(str(part) for part in (*place, key.name))
        if not key.is_repeated:
            yield f"\n[{header}]"
            yield from _lines(below, (*place, key.name))
            continue
        for each in below:
            yield f"\n[[{header}]]"
            yield from _lines(each, (*place, key.name))


def _line(section: Section, key: Key, value: Any) -> str:
    if isinstance(getattr(section, key.attribute), SecretStr):
        return f"# {key.name} = (secret)"
    if value is None:
        return f"# {key.name} = (not set)"
    is_given = key.attribute in section.model_fields_set
    mark = "" if is_given else "  # default"
    return f"{key.name} = {format_value(value)}{mark}"
