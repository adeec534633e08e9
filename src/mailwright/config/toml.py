"""Write TOML: values, keys and whole settings with their defaults marked."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


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
            if not value:
                return "{}"
            pairs = (f"{name} = {format_value(each)}" for name, each in value.items())
            return "{ " + ", ".join(pairs) + " }"
        case Iterable():
            return "[" + ", ".join(map(format_value, value)) + "]"
        case _:
            raise TypeError(f"TOML has no form for {type(value).__name__}")
