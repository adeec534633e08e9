"""Options that go together, as one value: a dataclass whose fields are the options.

A command says ``reach: Reach``; on the command line it has ``--url``, ``--key`` and
``--settings``. Two commands with the same group have the same options.
"""

import inspect
from collections.abc import Callable, Collection, Iterable
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

    def with_options(**values: Any) -> None:
        made = {
            name: kind(**{option: values.pop(option) for option in names[name]})
            for name, kind in groups.items()
        }
        command(**values, **made)

    options = [each for kind in groups.values() for each in _parameters(kind)]
    return shown_with(with_options, command, instead_of=groups, options=options)


def shown_with(
    run: Callable[..., None],
    command: Callable[..., None],
    *,
    instead_of: Collection[str],
    options: Iterable[inspect.Parameter],
) -> Callable[..., None]:
    """Return ``run``, which typer shows as ``command`` with other options.

    ``options`` stand behind the parameters of ``command`` and in place of those that
    ``instead_of`` names.
    """
    own = inspect.signature(command)
    kept = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in own.parameters.items()
        if name not in instead_of
    ]
    shown = wraps(command)(run)
    # typer reads it (PEP 362); the type of functions does not know it.
    shown.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    return shown


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
