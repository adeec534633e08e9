"""Limits as the setup file spells them: a rate, or so many a day."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, WithJsonSchema
from typing_extensions import override

from mailwright.config.problems import quoted
from mailwright.config.units import Rate, UnitError, parse_rate

_PER_DAY: Final = re.compile(r"([0-9]{1,18})/day")
_ACCEPTED: Final = (
    'write a number per s, min, h or day, such as "20/min", "5000/h burst 50" or '
    '"50000/day"'
)


@dataclass(frozen=True, slots=True)
class PerDay:
    """So many in a day (UTC); ``count`` is at least 1."""

    count: int

    @override
    def __str__(self) -> str:
        return f"{self.count}/day"


def parse_limit(text: str) -> Rate | PerDay:
    """Return the limit that ``text`` spells: ``"5000/h burst 50"``, ``"50000/day"``.

    ``str`` of it is the spelling that is read back exactly.

    Raises:
        UnitError: another form, or a zero (stop something with a hold, not a limit).
    """
    found = _PER_DAY.fullmatch(text)
    if found is None:
        try:
            return parse_rate(text)
        except UnitError as error:
            raise UnitError(
                error.what.replace("a rate", "a limit"), _ACCEPTED
            ) from None
    if int(found[1]) < 1:
        raise UnitError(f"{quoted(text)} lets nothing through", _ACCEPTED)
    return PerDay(int(found[1]))


def unit_of(limit: Rate | PerDay) -> str:
    """Return the time that ``limit`` counts in, in words."""
    if isinstance(limit, PerDay):
        return "day"
    return {1: "second", 60: "minute", 3600: "hour"}[limit.period_s]


def _spelling(text: str) -> str:
    return str(parse_limit(text))


#: A limit in its one spelling.
LimitText: TypeAlias = Annotated[
    str,
    AfterValidator(_spelling),
    WithJsonSchema({"type": "string", "x-kind": "rate or number/day"}),
]
