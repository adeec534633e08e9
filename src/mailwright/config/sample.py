"""A commented settings file to start from, made from the schema."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mailwright.config.keys import Key, defaults_of, keys_of
from mailwright.config.section import Section
from mailwright.config.toml import format_value

_WIDTH: Final = 88


def sample(schema: type[Section]) -> str:
    """Return a file of ``schema`` that loads once the files it names are there.

    What it sets is what most nodes need; every other key stands as a comment with its
    default, or with an example where it has none.
    """
    heading = (
        f"{schema.__doc__} Paths start at its folder. A key behind a # without a space "
        "is not set: remove the # to set it."
    )
    return "\n".join([*_comment(heading), *_body(schema, "", is_set=True)]) + "\n"


def _body(schema: type[Section], place: str, *, is_set: bool) -> Iterator[str]:
    """Yield a table's keys, then its tables; all as comments unless it is set."""
    defaults = defaults_of(schema)
    for key in keys_of(schema):
        if key.table is None:
            yield ""
            yield from _comment(key.text)
            yield _assignment(key, defaults, is_set=is_set)
    for key in keys_of(schema):
        if key.table is None:
            continue
        name = f"{place}.{key.name}".lstrip(".")
        # A table that is there without a key changes nothing; one item of a list does.
        below_is_set = is_set and (key.is_in_sample or not key.is_repeated)
        header = f"[[{name}]]" if key.is_repeated else f"[{name}]"
        yield "\n"
        yield from _comment(key.text)
        yield header if below_is_set else f"#{header}"
        yield from _body(key.table, name, is_set=below_is_set)


def _assignment(key: Key, defaults: Mapping[str, Any], *, is_set: bool) -> str:
    if is_set and key.is_in_sample:
        return f"{key.name} = {format_value(key.example)}"
    default = None if key.default_text else defaults.get(key.name)
    value = key.example if default in (None, []) else default
    return f"#{key.name} = {format_value(value)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2)]
