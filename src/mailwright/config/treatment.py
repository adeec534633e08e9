"""How a provider is treated, as files say it: connections, rates, pipelining, TLS.

Shipped profiles and the operators' changes to them have the same keys.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Self

from pydantic import model_validator

from mailwright.config.keys import walk
from mailwright.config.problems import Complaint, format_key
from mailwright.config.section import Count, Section, refuse, setting
from mailwright.config.units import (
    Duration,
    Rate,
    format_duration,
    format_rate,
    parse_duration,
)
from mailwright.site import Pipelining, TlsDemand

_SECOND: Final = timedelta(seconds=1)


class ScopeSection(Section):
    """Limits of one scope."""

    connections: Count | None = setting(
        None,
        text="Connections open at once.",
        example=5,
        unit="connections",
        ge=1,
        le=10_000,
    )
    throttles: tuple[Rate, ...] | None = setting(
        None,
        text="Messages per time; every one of the rates has to agree. Empty: none.",
        example=["20/min"],
        max_length=10,
    )


class TreatmentSection(Section):
    """How a provider is treated; what is not set is inherited."""

    messages_per_connection: Count | None = setting(
        None,
        text="Then the connection is closed and another opened.",
        example=20,
        unit="messages",
        ge=1,
        le=100_000,
    )
    pipelining: Pipelining | None = setting(
        None,
        text="How far ahead of the replies a session writes: none, commands, or "
        "transactions.",
        example="commands",
    )
    tls: TlsDemand | None = setting(
        None,
        text="none, opportunistic (if offered), encrypted (with any certificate, or the "
        "mail waits) or required (verified, or the mail waits).",
        example="encrypted",
    )
    retry: tuple[Duration, ...] | None = setting(
        None,
        text="Waits between the attempts of a delivery; the last one repeats.",
        example=["10m", "30m", "1h"],
        min_length=1,
        max_length=50,
    )
    per_source_and_site: ScopeSection = setting(
        ScopeSection(), text="From one source to one site.", example={}
    )
    per_source: ScopeSection = setting(
        ScopeSection(),
        text="From one source to all sites of the provider.",
        example={},
    )
    overall: ScopeSection = setting(
        ScopeSection(),
        text="From all sources to all sites of the provider.",
        example={},
    )

    @model_validator(mode="after")
    def _waits_a_while(self) -> Self:
        refuse(
            [
                Complaint(
                    ("retry", index),
                    "a retry after less than a second hammers the receiver",
                    'name at least "1s"',
                )
                for index, wait in enumerate(self.retry or ())
                if wait < _SECOND
            ],
            "treatment",
        )
        return self


#: Every key of a treatment: ``per_source.connections``.
TREATMENT_KEYS: Final = tuple(
    format_key(place) for place, _, _ in walk(TreatmentSection())
)


def spelled(section: TreatmentSection) -> dict[str, Any]:
    """Return what ``section`` sets by key, as its file would spell it."""
    found: dict[str, Any] = {}
    for place, _, value in walk(section):
        key = format_key(place)
        if value is None or key not in TREATMENT_KEYS:
            continue
        match value:
            case Pipelining() | TlsDemand():
                found[key] = value.value
            case tuple() if key.endswith("throttles"):
                found[key] = tuple(format_rate(each) for each in value)
            case tuple():
                found[key] = tuple(format_duration(each) for each in value)
            case _:
                found[key] = value
    return found


def meant(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`spelled` gave as rules work with it.

    Members of the enumerations, seconds; rates stay as they are spelled.
    """
    return {key: _meant(key, value) for key, value in said.items()}


def _meant(key: str, value: Any) -> Any:
    match key:
        case "pipelining":
            return Pipelining(value)
        case "tls":
            return TlsDemand(value)
        case "retry":
            return tuple(parse_duration(each).total_seconds() for each in value)
        case _ if key.endswith("throttles"):
            return tuple(value)
        case _:
            return value
