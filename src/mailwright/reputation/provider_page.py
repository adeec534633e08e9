"""The reference page of the shipped providers, made from their files: it cannot lie."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from mailwright.config.units import format_duration
from mailwright.reputation.matching import DEFAULT
from mailwright.reputation.provider import ProfileBook
from mailwright.reputation.provider_file import Provider
from mailwright.reputation.treatment import (
    KEYS,
    MESSAGES,
    OVERALL_CONNECTIONS,
    RETRY,
    SITE_CONNECTIONS,
    SOURCE_CONNECTIONS,
    TLS,
)

_INTRODUCTION: Final = """\
# Providers

<!-- Made by `mailwright provider reference`; do not edit. -->

How the receiving sides that we know are recognised and treated. Limits are what a provider
published or what a named source says of it; where there is none, the profile says nothing and
inherits the default. [How to add or correct one](../adding-a-provider.md).

* **Per source and site**: from one sending address to domains that share their MX hosts.
* **Per source**: from one sending address to all sites of the provider.
* **Overall**: from all sending addresses to all sites of the provider.
* *Italics* are inherited from the default.

`mailwright provider resolve DOMAIN` says which provider a domain has now, and why.
"""
_COLUMNS: Final = {
    SITE_CONNECTIONS: "connections per source and site",
    SOURCE_CONNECTIONS: "per source",
    OVERALL_CONNECTIONS: "overall",
    MESSAGES: "messages per connection",
    TLS: "TLS",
}


def providers_page(book: ProfileBook) -> str:
    """Return the page on the providers of ``book`` as Markdown."""
    return "\n".join(_lines(book)) + "\n"


def value_text(key: str, value: Any) -> str:
    """Return a value of a treatment as its file would say it, without quotes."""
    if key == RETRY:
        return ", ".join(format_duration(timedelta(seconds=each)) for each in value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _lines(book: ProfileBook) -> Iterator[str]:
    yield _INTRODUCTION
    yield f"| provider | {' | '.join(_COLUMNS.values())} |"
    yield "|---" * (len(_COLUMNS) + 1) + "|"
    others = [each for each in book.providers.values() if each.name != DEFAULT]
    providers = [book.providers[DEFAULT], *others]
    for provider in providers:
        values = book.resolved(provider.name).values
        cells = (_cell(provider, key, values.get(key)) for key in _COLUMNS)
        yield f"| [{provider.name}](#{provider.name}) | {' | '.join(cells)} |"
    for provider in providers:
        yield from _section(provider)


def _cell(provider: Provider, key: str, value: Any) -> str:
    if value is None:
        return ""
    text = value_text(key, value)
    return text if key in provider.says else f"*{text}*"


def _section(provider: Provider) -> Iterator[str]:
    yield f"\n## {provider.name}\n"
    yield f"{provider.title}."
    for what, names in (
        ("MX hosts", provider.matchers.mx),
        ("Domains, where the MX hosts do not tell", provider.matchers.domains),
    ):
        if names:
            yield f"{what}: {', '.join(f'`{each}`' for each in names)}."
    if not provider.says:
        yield "\nNo published limit; everything is inherited."
        return
    yield ""
    yield "| key | value | source |"
    yield "|---|---|---|"
    for key in KEYS:
        if key in provider.says:
            text = value_text(key, provider.says[key])
            yield f"| `{key}` | {text} | {provider.sources[key]} |"
