"""The options that select what a command is for, the same for all that take them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias

import typer

from mailwright.cli.option_groups import shown_with

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

    def with_options(**values: Any) -> None:
        parts = {name: values.pop(_parameter(name)) for name in _HELP}
        command(**values, selection=given_of(**parts))

    return shown_with(with_options, command, instead_of={"selection"}, options=options)


def given_of(**parts: str | None) -> dict[str, str]:
    """Return the parts that were given."""
    return {name: value for name, value in parts.items() if value is not None}


def _parameter(name: str) -> str:
    """Return the name of an option's parameter; ``id`` is a builtin's."""
    return f"selected_{name}"
