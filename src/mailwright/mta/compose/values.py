"""What templates see of fields: plain values, and nothing of Python behind them.

MiniJinja takes strings, numbers and booleans over as its own; of anything else it would
hand out the Python object with its methods (``{{ cart.clear() }}`` changes a dict,
``{{ cart.get }}`` prints an address in memory). So lists and objects are wrapped in classes
that have items and nothing else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, Union

from typing_extensions import override

from mailwright.errors import MailwrightError

#: As deep as lists and objects may nest.
MAX_DEPTH: Final = 20
#: What a template language with 64-bit integers keeps exact.
_MAX_INT: Final = 2**63 - 1

Plain: TypeAlias = Union[bool, int, float, str, "Items", "Members"]


class ValueDepthError(MailwrightError):
    """Lists and objects nest too deep."""


class Items:
    """A list: length and items by number."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Plain]) -> None:
        self._items = items

    def __getitem__(self, place: int) -> Plain:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    @override
    def __str__(self) -> str:
        return _shown(self)


Sequence.register(Items)  # how MiniJinja knows a list


class Members:
    """An object: members by name, in the order of the JSON."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, Plain]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Plain:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @override
    def __str__(self) -> str:
        return _shown(self)


def plain(value: Any, depth: int = MAX_DEPTH) -> Plain | None:
    """Return what a template sees of a JSON value; ``None`` for null, which is nothing.

    Raises:
        ValueDepthError: it nests over ``depth`` deep.
    """
    if isinstance(value, bool | float | str) or value is None:
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value <= _MAX_INT else str(value)
    if not depth:
        raise ValueDepthError(f"nested over {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        members = ((name, plain(each, depth - 1)) for name, each in value.items())
        return Members({name: each for name, each in members if each is not None})
    # A list keeps its places: null is an empty text there.
    items = (plain(each, depth - 1) for each in value)
    return Items(["" if each is None else each for each in items])


def pairs(value: object) -> Items:
    """Return an object's members as [name, value] pairs: the filter ``items``."""
    if not isinstance(value, Members):
        raise TypeError("items is for objects")
    return Items([Items([name, value[name]]) for name in value])


def _shown(value: Items | Members) -> str:
    return json.dumps(_json(value), ensure_ascii=False)


def _json(value: Plain) -> Any:
    if isinstance(value, Items):
        return [_json(value[place]) for place in range(len(value))]
    if isinstance(value, Members):
        return {name: _json(value[name]) for name in value}
    return value
