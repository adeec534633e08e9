"""Pydantic's errors in the operator's words, each with its key and the nearest one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mailwright.config.keys import Key, key_at, keys_of, table_at
from mailwright.config.nearest import did_you_mean
from mailwright.config.problems import KeyPath, Problem, WrongValueError, format_key
from mailwright.config.section import Section
from mailwright.config.toml import format_value

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is required",
}
#: By the key of pydantic's context that holds the bound.
_BOUNDED: Final[Mapping[str, str]] = {
    "ge": "must be at least {}",
    "le": "must be at most {}",
    "min_length": "must have a length of at least {}",
    "max_length": "must have a length of at most {}",
}
#: Follows from another problem that is reported already.
_ECHOES: Final = frozenset({"default_factory_not_called"})


def problems_of(
    error: ValidationError, schema: type[Section], file: Path
) -> list[Problem]:
    """Return each error of a validation of ``schema`` as a problem in ``file``."""
    return [
        _problem(details, schema, file)
        for details in error.errors(include_url=False, include_input=False)
        if details["type"] not in _ECHOES
    ]


def _problem(details: ErrorDetails, schema: type[Section], file: Path) -> Problem:
    # "[key]" is pydantic's mark for the name in a free table such as pool.sources.
    place = tuple(part for part in details["loc"] if part != "[key]")
    context = details.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, WrongValueError):
        what, remedy = cause.what, cause.remedy
    elif details["type"] == "complaint":
        what, remedy = context["what"], context["remedy"]
    elif details["type"] == "extra_forbidden":
        what, remedy = "is not a known key", _nearest_key(schema, place)
    else:
        known = key_at(schema, place)
        what, remedy = _expectation(details, known), _example(known)
    return Problem(file, format_key(place), what, remedy)


def _expectation(details: ErrorDetails, key: Key | None) -> str:
    """Return what a value of this key must be."""
    kind, context = details["type"], details.get("ctx", {})
    for bound, form in _BOUNDED.items():
        if bound in context:
            # Pydantic tells the bound of a duration in words of its own.
            return form.format((key and key.bound(bound)) or context[bound])
    if kind == "enum":
        return f"must be one of {context['expected']}".replace("'", '"')
    return _EXPECTED.get(kind) or details["msg"].replace("Input should be", "must be")


def _example(key: Key | None) -> str:
    """Return what would be right, from the key's own example."""
    if key is None or key.table is not None:
        return "see `mailwright config reference`"
    return f"for example {key.name} = {format_value(key.example)}"


def _nearest_key(schema: type[Section], path: KeyPath) -> str:
    """Return what an unknown key may have been meant to be."""
    name = str(path[-1])
    known = [key.name for key in keys_of(table_at(schema, path[:-1]))]
    if hint := did_you_mean(name, known):
        return hint
    # Often the right key in the wrong table.
    elsewhere = [place for place in _places(schema) if place.endswith(f".{name}")]
    if elsewhere:
        return f"it belongs in {' or '.join(elsewhere)}"
    return f"known here: {', '.join(known)}"


def _places(schema: type[Section], before: str = "") -> Iterator[str]:
    for key in keys_of(schema):
        yield f"{before}{key.name}"
        if key.table is not None:
            yield from _places(key.table, f"{before}{key.name}.")
