"""The files of providers: their schema, and reading all of them.

A file may say how its provider is recognised and what the provider said of its limits.
Each limit stands under a comment that names its source; one without is refused, because
nobody could tell it from a guess.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from pydantic import model_validator

from mailwright.config.keys import walk
from mailwright.config.loading import read_toml, validate
from mailwright.config.problems import Complaint, Problem, SettingsError, format_key
from mailwright.config.section import (
    Count,
    Domain,
    HostName,
    Name,
    Section,
    refuse,
    setting,
)
from mailwright.config.units import Duration, Rate, format_rate
from mailwright.reputation.matching import DEFAULT, Matchers, overlaps
from mailwright.reputation.treatment import KEYS, NOT_INHERITED, Treatment
from mailwright.site import Pipelining, TlsDemand

SHIPPED: Final = Path(__file__).with_name("providers")
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

    def treatment(self) -> Treatment:
        """Return what is set, as plain values by key."""
        said = {
            format_key(place): value
            for place, key, value in walk(self)
            if value is not None
        }
        return {key: _plain(key, said[key]) for key in KEYS if key in said}


class ProviderSection(TreatmentSection):
    """One provider: how it is recognised, and how it is treated."""

    provider: Name = setting(text="Its name in metrics and settings.", example="google")
    title: str = setting(
        text="Its name for people.",
        example="Gmail and Google Workspace",
        min_length=1,
        max_length=80,
    )
    mx: tuple[HostName, ...] = setting(
        (),
        text="Suffixes of its MX hosts: a name stands for that host and all below it.",
        example=["google.com", "googlemail.com"],
    )
    domains: tuple[Domain, ...] = setting(
        (),
        text="Recipient domains that are its own when no suffix knows their MX hosts.",
        example=["gmail.com"],
    )


@dataclass(frozen=True, slots=True)
class Provider:
    """What one file says.

    Attributes:
        says: its treatment, without what it inherits.
        sources: of each key of ``says``: the comment above it.
    """

    name: str
    title: str
    matchers: Matchers
    says: Treatment
    sources: Mapping[str, str]


def load_providers(folder: Path = SHIPPED) -> tuple[Provider, ...]:
    """Return the providers of all ``*.toml`` in ``folder`` in the order of their names.

    Reads some twenty small files.

    Raises:
        SettingsError: with every problem: a file that is wrong, a limit without a
            source, two providers of one name, matchers of which two could be right, no
            default.
    """
    providers: dict[str, tuple[Provider, Path]] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            one = _load(path)
        except SettingsError as error:
            problems += error.problems
            continue
        if one.name in providers:
            other = providers[one.name][1].name
            problems.append(
                Problem(path, "provider", f"is the one of {other}", "name another")
            )
        providers[one.name] = (one, path)
    problems += _overlaps(providers)
    if not problems and DEFAULT not in providers:
        what, remedy = "has no default provider", f'add provider = "{DEFAULT}"'
        problems.append(Problem(folder, "", what, remedy))
    if problems:
        raise SettingsError(problems)
    return tuple(providers[name][0] for name in sorted(providers))


def sources_of(lines: Sequence[str]) -> dict[str, str]:
    """Return the comment right above each key of a TOML file, by its dotted key."""
    found, table, comment = {}, "", ""
    for line in map(str.strip, lines):
        if line.startswith("#"):
            comment = f"{comment} {line.lstrip('# ')}".strip()
            continue
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif "=" in line and comment:
            found[table + line.partition("=")[0].strip()] = comment
        comment = ""
    return found


def _load(path: Path) -> Provider:
    section = validate(ProviderSection, read_toml(path), path)
    sources = sources_of(path.read_text("utf-8").splitlines())
    says = section.treatment()
    problems = [
        Problem(
            path,
            key,
            "has no source",
            "name it in a comment right above, or leave it out",
        )
        for key in says
        if key not in sources
    ]
    if section.provider == DEFAULT:
        problems += [
            Problem(path, key, "means nothing for everyone else", "leave it out")
            for key in says
            if key in NOT_INHERITED
        ]
    if problems:
        raise SettingsError(problems)
    return Provider(
        section.provider,
        section.title,
        Matchers(section.mx, section.domains),
        says,
        {key: sources[key] for key in says},
    )


def _overlaps(providers: Mapping[str, tuple[Provider, Path]]) -> Iterator[Problem]:
    for overlap in overlaps(
        (name, one.matchers) for name, (one, _) in providers.items()
    ):
        yield Problem(
            providers[overlap.first][1],
            "",
            f"overlaps {providers[overlap.second][1].name}: {overlap.what}",
            "let one of them go, or make them apart",
        )


def _plain(key: str, value: Any) -> Any:
    if key.endswith("throttles"):
        return tuple(format_rate(rate) for rate in value)
    if isinstance(value, tuple):
        return tuple(each.total_seconds() for each in value)
    return value
