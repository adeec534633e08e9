"""Building blocks of both schemas: a section, a setting, and the types of values."""

import re
from collections.abc import Sequence
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from mailwright.address import AddressError, canonical_domain
from mailwright.config.problems import Complaint, WrongValueError, quoted

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SELECTOR: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
)


class Kept(StrEnum):
    """Stands where a file would name a secret: the one in the database stays."""

    KEPT = "kept"


class Section(BaseModel):
    """A table of a settings file: immutable; a key it does not know is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A wrong value may be a secret that stands at the wrong key.
        hide_input_in_errors=True,
    )


def setting(  # one argument for each thing that every setting must say
    default: Any = ...,
    *,
    text: str,
    example: Any,
    unit: str = "",
    live: bool = False,
    reads: bool = False,
    sample: bool = False,
    default_text: str = "",
    **constraints: Any,
) -> Any:
    """Return a pydantic field with all that the reference page prints of it.

    Args:
        default: what it is when the file is silent; absent: the key is required.
        text: what it means, in one or two sentences.
        example: as written in TOML, as a plain value.
        unit: what a number counts; durations and sizes carry theirs in the value.
        live: whether a running node takes a change over (SIGHUP).
        reads: it names a file that must be there when the settings are used.
        sample: the printed sample sets it although it may be left out.
        default_text: the default in words, when it follows from other keys.
        constraints: as for ``pydantic.Field`` (``ge``, ``alias``,
            ``default_factory``, …).
    """
    extra: dict[str, Any] = {
        "x-live": live,
        "x-reads": reads,
        "x-sample": sample,
        "x-unit": unit,
        "x-default-text": default_text,
    }
    if "default_factory" not in constraints:
        constraints["default"] = default
    return Field(
        description=text,
        examples=[example],
        # Only what says something: the schema is also printed.
        json_schema_extra={name: each for name, each in extra.items() if each},
        **constraints,
    )


def refuse(complaints: Sequence[Complaint], title: str) -> None:
    """Raise all of ``complaints`` at once, each at its own key; none: return.

    For validators of whole sections, which see how keys contradict each other.

    Raises:
        ValidationError: there was a complaint.
    """
    if complaints:
        raise ValidationError.from_exception_data(
            title,
            [
                InitErrorDetails(
                    type=PydanticCustomError(
                        "complaint",
                        "{what}; {remedy}",
                        {"what": each.what, "remedy": each.remedy},
                    ),
                    loc=each.key,
                    input=None,
                )
                for each in complaints
            ],
        )


def _from_file(value: Path, info: ValidationInfo) -> Path:
    """Read a path as relative to the settings file's folder, if it is known."""
    if not value.parts or "\0" in str(value):
        raise WrongValueError("is no path", "name a file, or leave the key out")
    base = (info.context or {}).get("base")
    return value if base is None else Path(base) / value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise WrongValueError(
            f"{quoted(value)} is not a name",
            "use up to 63 of a–z, 0–9, dot, hyphen and underscore, with a letter or "
            "digit at both ends",
        )
    return value


def _domain(value: str) -> str:
    try:
        return canonical_domain(value)
    except AddressError as error:
        raise WrongValueError(
            f"{quoted(value)} is not a domain: {error.reason}",
            'write a full name such as "example.com"',
        ) from None


def _route_domain(value: str) -> str:
    return value if value == "*" else _domain(value)


def _source_address(value: str) -> str:
    if not value:
        return value
    address = _ip(value)
    if address.is_unspecified or address.is_multicast:
        raise WrongValueError(
            f"{quoted(value)} cannot send", 'name one address, or "" for the system\'s'
        )
    return str(address)


def _host_name(value: str) -> str:
    if "_" in value:  # RFC 1123 §2.1; receivers refuse it in EHLO
        raise WrongValueError(
            f"{quoted(value)} is not a host name: it has an underscore",
            "use letters, digits, hyphens and dots",
        )
    return _domain(value)


def _selector(value: str) -> str:
    if len(value) > 63 or not _SELECTOR.fullmatch(value):
        raise WrongValueError(
            f"{quoted(value)} is not a DKIM selector",
            'use lower-case letters, digits, hyphens and dots, such as "s1"',
        )
    return value


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise WrongValueError("must be a text", 'write it as "192.0.2.0/24"')
    try:
        meant = None if "%" in value else ip_network(value, strict=False)
    except ValueError:
        meant = None
    if meant is None:
        raise WrongValueError(
            f"{quoted(value)} is not a network",
            'write it as "192.0.2.0/24" or "2001:db8::/32"',
        )
    if ip_address(value.partition("/")[0]) != meant.network_address:
        raise WrongValueError(
            f"{quoted(value)} has bits set outside its prefix",
            f'did you mean "{meant}"?',
        )
    return meant


def _ip(value: object) -> IPv4Address | IPv6Address:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    # Python takes any text as a zone; a zone means something on one host only.
    if isinstance(value, str) and "%" not in value:
        try:
            return ip_address(value)
        except ValueError:
            pass
    raise WrongValueError(
        f"{quoted(value)} is not an IP address",
        'write it as "192.0.2.10" or "2001:db8::10"',
    )


def _kind(name: str) -> WithJsonSchema:
    """Say in the JSON schema what kind of text a type is."""
    return WithJsonSchema({"type": "string", "x-kind": name})


#: A whole number; neither ``true`` nor ``"5"`` is one.
Count = Annotated[int, Strict()]
#: ``true`` or ``false``, not ``"yes"``.
Flag = Annotated[bool, Strict()]
#: A name of ours: node, tenant, pool, credential, …
Name = Annotated[str, AfterValidator(_name), _kind("name")]
#: A domain in A-labels, lower case; U-labels are accepted and converted.
Domain = Annotated[str, AfterValidator(_domain), _kind("domain")]
#: A domain, or ``"*"`` for every one that has no route of its own.
RouteDomain = Annotated[str, AfterValidator(_route_domain), _kind('domain or "*"')]
#: An address literal to send from; ``""`` lets the system choose.
SourceAddress = Annotated[str, AfterValidator(_source_address), _kind("IP address")]
#: A host's full name, as EHLO wants it (RFC 5321 §2.3.5).
HostName = Annotated[str, AfterValidator(_host_name), _kind("host name")]
#: A DKIM selector (RFC 6376 §3.1).
Selector = Annotated[str, AfterValidator(_selector), _kind("selector")]
#: A path; relative ones start at the folder of the settings file.
FilePath = Annotated[
    Path,
    AfterValidator(_from_file),
    _kind("path"),
]
#: A network in CIDR form; an address alone is a network of one.
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_network),
    PlainSerializer(str, return_type=str),
    _kind("network"),
]
#: An address literal.
Ip = Annotated[
    IPv4Address | IPv6Address,
    PlainValidator(_ip),
    PlainSerializer(str, return_type=str),
    _kind("IP address"),
]
