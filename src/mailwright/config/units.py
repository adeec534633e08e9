"""Units: how settings write durations, sizes, rates and endpoints.

A number without its unit is how a limit ends up a thousand times too high, so durations
and rates must name theirs. For every value that settings can hold,
``parse_x(format_x(value)) == value``. All functions are pure and total: they return, or
raise :class:`UnitError` that says what is accepted.

``Duration`` and ``Octets`` are the pydantic types; :class:`HostPort` and :class:`Rate`
are used as they are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Final

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from mailwright.config.problems import WrongValueError, quoted

#: No setting needs more digits; keeps hostile numbers cheap.
_MAX_DIGITS: Final = 18
MAX_DURATION: Final = timedelta(days=3660)
MAX_OCTETS: Final = 2**50

_MILLISECOND: Final = timedelta(milliseconds=1)
#: Largest first: the order in which parts are written.
_DURATION_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": _MILLISECOND,
}
_DURATION: Final = re.compile(
    "".join(rf"(?:([0-9]{{1,{_MAX_DIGITS}}}){unit})?" for unit in _DURATION_UNITS)
)
_DURATION_ACCEPTED: Final = (
    'write a number and d, h, m, s or ms, largest first, such as "90s", "1h30m" or "3d"'
)

_SIZE_UNITS: Final = {
    "TiB": 1024**4,
    "TB": 1000**4,
    "GiB": 1024**3,
    "GB": 1000**3,
    "MiB": 1024**2,
    "MB": 1000**2,
    "KiB": 1024,
    "KB": 1000,
    "B": 1,
}
_SIZE_BY_LOWER: Final = {unit.lower(): octets for unit, octets in _SIZE_UNITS.items()}
_SIZE: Final = re.compile(rf"([0-9]{{1,{_MAX_DIGITS}}}) ?([A-Za-z]{{0,3}})")
_SIZE_ACCEPTED: Final = (
    "write octets as a number, or with KB, MB, GB (thousands) or KiB, MiB, GiB (1024s), "
    'such as "25MB"'
)

_RATE_PERIODS: Final = {"s": 1, "min": 60, "h": 3600}
_RATE: Final = re.compile(
    rf"([0-9]{{1,{_MAX_DIGITS}}})/(s|min|h)(?: burst ([0-9]{{1,{_MAX_DIGITS}}}))?"
)
_RATE_ACCEPTED: Final = (
    'write a number per s, min or h, such as "20/min" or "5000/h burst 50"'
)

_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HOST_PORT_ACCEPTED: Final = (
    'write host:port, such as "127.0.0.1:25", "[::1]:25" or "mail.example.com:587"'
)


class UnitError(WrongValueError):
    """A value that no unit can be read from."""


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` spells: ``"5m"``, ``"1h30m"``, ``"500ms"``.

    Raises:
        UnitError: no unit, units out of order, a sign or fraction, over ten years.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise UnitError(f"{quoted(text)} is not a duration", _DURATION_ACCEPTED)
    # Whole milliseconds: a timedelta of twelve digits of days would overflow.
    millis = sum(
        int(digits or 0) * (unit // _MILLISECOND)
        for digits, unit in zip(found.groups(), _DURATION_UNITS.values(), strict=True)
    )
    if millis > MAX_DURATION // _MILLISECOND:
        raise UnitError(
            f"{quoted(text)} is too long", f"at most {format_duration(MAX_DURATION)}"
        )
    return timedelta(milliseconds=millis)


def format_duration(value: timedelta) -> str:
    """Return the shortest spelling that :func:`parse_duration` reads back exactly.

    Raises:
        ValueError: negative, or not whole milliseconds: no setting can say it.
    """
    millis, rest = divmod(value, _MILLISECOND)
    if millis < 0 or rest:
        raise ValueError("a duration in settings is a whole number of ms, not negative")
    parts = []
    for name, unit in _DURATION_UNITS.items():
        count, millis = divmod(millis, unit // _MILLISECOND)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Return the octets that ``text`` spells: ``"25MB"``, ``"64KiB"``, ``"1024"``.

    Raises:
        UnitError: an unknown unit, a sign or fraction, over 1 PiB.
    """
    found = _SIZE.fullmatch(text)
    unit = _SIZE_BY_LOWER.get((found[2] or "B").lower()) if found else None
    if found is None or unit is None:
        raise UnitError(f"{quoted(text)} is not a size", _SIZE_ACCEPTED)
    octets = int(found[1]) * unit
    if octets > MAX_OCTETS:
        raise UnitError(f"{quoted(text)} is too large", "at most 1024TiB")
    return octets


def format_size(octets: int) -> str:
    """Return the spelling with the largest unit that divides ``octets``.

    Raises:
        ValueError: negative.
    """
    if octets < 0:
        raise ValueError("a size is not negative")
    for name, unit in _SIZE_UNITS.items():
        if octets >= unit and octets % unit == 0:
            return f"{octets // unit}{name}" if unit > 1 else str(octets)
    return "0"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many per period, and so many at once.

    Attributes:
        count: messages in each period, at least 1.
        period_s: 1, 60 or 3600 seconds. Limits per day are ledgers, not rates.
        burst: how many may leave at once after a pause, at least 1.
    """

    count: int
    period_s: int
    burst: int

    @property
    def interval_s(self) -> float:
        """Seconds between two, when spaced evenly."""
        return self.period_s / self.count

    @override
    def __str__(self) -> str:
        return format_rate(self)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate from text; pydantic calls this."""
        return _text_schema(cls, parse_rate)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return a text with a format; pydantic calls this."""
        return {"type": "string", "x-kind": "rate"}


def _default_burst(count: int, period_s: int) -> int:
    """One second's worth, at least one."""
    return max(1, count // period_s)


def parse_rate(text: str) -> Rate:
    """Return the rate that ``text`` spells: ``"20/min"``, ``"5000/h burst 50"``.

    Without a burst it is one second's worth, at least 1.

    Raises:
        UnitError: another form, or a zero (stop something with a hold, not a rate).
    """
    found = _RATE.fullmatch(text)
    if found is None:
        raise UnitError(f"{quoted(text)} is not a rate", _RATE_ACCEPTED)
    count, period_s = int(found[1]), _RATE_PERIODS[found[2]]
    burst = int(found[3]) if found[3] else _default_burst(count, period_s)
    if count < 1 or burst < 1:
        raise UnitError(f"{quoted(text)} lets nothing through", _RATE_ACCEPTED)
    return Rate(count, period_s, burst)


def format_rate(rate: Rate) -> str:
    """Return the spelling that :func:`parse_rate` reads back exactly."""
    period = next(name for name, s in _RATE_PERIODS.items() if s == rate.period_s)
    text = f"{rate.count}/{period}"
    if rate.burst == _default_burst(rate.count, rate.period_s):
        return text
    return f"{text} burst {rate.burst}"


@dataclass(frozen=True, slots=True)
class HostPort:
    """An endpoint: an address literal or a host name, and a port.

    Attributes:
        host: without brackets; lower case; IPv6 in its shortest form.
        port: 0 to 65535; 0 lets the system choose (listeners only).
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @override
    def __str__(self) -> str:
        return format_host_port(self)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate from text; pydantic calls this."""
        return _text_schema(cls, parse_host_port)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return a text with a format; pydantic calls this."""
        return {"type": "string", "x-kind": "host:port"}


def parse_host_port(text: str) -> HostPort:
    """Return the endpoint that ``text`` spells; IPv6 stands in brackets.

    Raises:
        UnitError: no port, a port over 65535, no address and no host name.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UnitError(f"{quoted(text)} names no port", _HOST_PORT_ACCEPTED)
    if host.startswith("[") and host.endswith("]"):
        return HostPort(_canonical_ipv6(host[1:-1], text), int(port))
    if ":" in host:
        raise UnitError(
            f"{quoted(text)} has an IPv6 address without brackets", _HOST_PORT_ACCEPTED
        )
    return HostPort(_canonical_host(host, text), int(port))


def _canonical_ipv6(host: str, text: str) -> str:
    """Return an IPv6 address; a zone is refused: it means something on one host only."""
    try:
        address = IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise UnitError(
            f"{quoted(text)} has no IPv6 address in its brackets", _HOST_PORT_ACCEPTED
        )
    return str(address)


def _canonical_host(host: str, text: str) -> str:
    """Return an IPv4 address or a host name of any number of labels (RFC 1123 §2.1)."""
    labels = host.split(".")
    if labels[-1].isdigit():
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise UnitError(
                f"{quoted(text)} has a wrong IPv4 address", _HOST_PORT_ACCEPTED
            ) from None
    if len(host) > 253 or not all(map(_HOST_LABEL.fullmatch, labels)):
        raise UnitError(
            f"{quoted(text)} has neither an address nor a host name",
            _HOST_PORT_ACCEPTED,
        )
    return host.lower()


def format_host_port(endpoint: HostPort) -> str:
    """Return the spelling that :func:`parse_host_port` reads back exactly."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _text_schema(cls: type, parse: Callable[[str], object]) -> CoreSchema:
    """Return a schema that takes a text or a value already made."""

    def validate(value: object) -> object:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise UnitError("must be a text", "put it in quotes")
        return parse(value)

    return core_schema.no_info_plain_validator_function(
        validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
    )


def _duration(value: object) -> object:
    """Read a text; a bare number is refused, since it names no unit."""
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise UnitError("must be a text with a unit", _DURATION_ACCEPTED)


def _octets(value: object) -> object:
    """Read a text, or a number of octets."""
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return parse_size(str(value))
    raise UnitError("must be a size", _SIZE_ACCEPTED)


#: A ``timedelta``, written ``"5m"``.
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "x-kind": "duration"}),
]

#: An ``int`` of octets, written ``"25MB"`` or ``1024``.
Octets = Annotated[
    int,
    BeforeValidator(_octets),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": ["string", "integer"], "x-kind": "size"}),
]
