"""Options that go together, as one value: a dataclass whose fields are the options.

A command says ``reach: Reach``; on the command line it has ``--url``, ``--key`` and
``--settings``. Two commands with the same group have the same options.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of its groups in their place.

    A group is a parameter whose type is a dataclass. Each of its fields is annotated as
    an option; its default is the option's.
    """
    own = inspect.signature(command)
    groups: dict[str, type[Any]] = {
        name: each.annotation
        for name, each in own.parameters.items()
        if isinstance(each.annotation, type) and is_dataclass(each.annotation)
    }
    names = {
        name: [each.name for each in fields(kind)] for name, kind in groups.items()
    }

    @wraps(command)
    def with_options(**values: Any) -> None:
        made = {
            name: kind(**{option: values.pop(option) for option in names[name]})
            for name, kind in groups.items()
        }
        command(**values, **made)

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in own.parameters.items()
        if name not in groups
    ]
    for kind in groups.values():
        parameters += _parameters(kind)
    # typer reads it (PEP 362); the type of functions does not know it.
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=(
                inspect.Parameter.empty if each.default is MISSING else each.default
            ),
            annotation=hints[each.name],
        )
        for each in fields(kind)
    ]
