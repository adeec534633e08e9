"""The files of providers: their schema, and reading all of them.

A file may say how its provider is recognised and what the provider said of its limits.
Each limit stands under a comment that names its source; one without is refused, because
nobody could tell it from a guess.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailwright.config.loading import read_toml, validate
from mailwright.config.problems import Problem, SettingsError
from mailwright.config.section import Domain, HostName, Name, setting
from mailwright.config.treatment import TreatmentSection, meant, spelled
from mailwright.reputation.matching import DEFAULT, Matchers, overlaps
from mailwright.reputation.treatment import KEYS, NOT_INHERITED, Treatment

SHIPPED: Final = Path(__file__).with_name("providers")


class ProviderFile(TreatmentSection):
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


def provider_names() -> list[str]:
    """Return the names of the shipped providers; reads their files."""
    return [each.name for each in load_providers()]


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
    section = validate(ProviderFile, read_toml(path), path)
    sources = sources_of(path.read_text("utf-8").splitlines())
    said = meant(spelled(section))
    says: dict[str, Any] = {key: said[key] for key in KEYS if key in said}
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
