"""The options that select what a command is for, the same for all that take them."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Final, TypeAlias

import typer

#: What was given, as the API takes it.
Selection: TypeAlias = Mapping[str, str]

_PANEL: Final = "Selection: every part that is given must hold"
_HELP: Final = {
    "tenant": "Of this tenant.",
    "stream": "Of this stream.",
    "campaign": "Of this campaign, by its id.",
    "domain": "To this recipient domain.",
    "provider": "To sites of this provider.",
    "pool": "Leaving from this pool.",
    "line": "This line, by its id.",
    "id": "This message or delivery.",
}


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of a selection in place of its ``selection``."""
    own = inspect.signature(command)
    given = [each for name, each in own.parameters.items() if name != "selection"]
    options = [
        inspect.Parameter(
            _parameter(name),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(f"--{name}", help=text, rich_help_panel=_PANEL),
            ],
        )
        for name, text in _HELP.items()
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        parts = {name: values.pop(_parameter(name)) for name in _HELP}
        command(**values, selection=given_of(**parts))

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given
    ] + options
    # typer reads it (PEP 362); the type of functions does not know it.
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def given_of(**parts: str | None) -> dict[str, str]:
    """Return the parts that were given."""
    return {name: value for name, value in parts.items() if value is not None}


def _parameter(name: str) -> str:
    """Return the name of an option's parameter; ``id`` is a builtin's."""
    return f"selected_{name}"
