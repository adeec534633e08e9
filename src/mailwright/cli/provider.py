"""``mailwright provider``: who the receiving sides are and how they are treated."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from typing import Annotated, Any, Final

import typer
from dns.resolver import NoResolverConfiguration
from rich.console import Console
from rich.table import Table

from mailwright.accounts.directory import Route
from mailwright.address import AddressError, canonical_domain
from mailwright.clock import SystemClock
from mailwright.config.nearest import did_you_mean
from mailwright.config.outbound import DeliverySettings
from mailwright.config.units import UnitError, parse_host_port
from mailwright.mta.routing import Router
from mailwright.reply import Reply
from mailwright.reputation.matching import DEFAULT
from mailwright.reputation.provider import Placement, ProfileBook, load_profiles
from mailwright.reputation.provider_page import providers_page, value_text
from mailwright.reputation.treatment import KEYS, Resolved
from mailwright.resolver import (
    DnspythonResolver,
    MxRecord,
    Resolver,
    system_nameservers,
)
from mailwright.routable import is_permitted

provider_app = typer.Typer(
    help="Who the receiving sides are and how they are treated.", no_args_is_help=True
)


#: Whoever reads a pipe wants one line for each row.
_WIDTH_OF_A_PIPE: Final = 250


class Exit(IntEnum):
    """What the commands exit with."""

    OK = 0
    NONE = 1  # no such provider, or the domain takes no mail now
    USAGE = 2  # an argument that means nothing


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@provider_app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Print every provider and how it is recognised."""
    providers = _book().providers.values()
    if as_json:
        rows = [
            {
                "provider": each.name,
                "title": each.title,
                "mx": each.matchers.mx,
                "domains": each.matchers.domains,
            }
            for each in providers
        ]
        print(json.dumps({"providers": rows}))
        return
    table = Table("provider", "who", "MX hosts", "domains", box=None)
    for each in providers:
        matchers = each.matchers
        table.add_row(
            each.name, each.title, " ".join(matchers.mx), " ".join(matchers.domains)
        )
    _console().print(table)


@provider_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in the list.")],
    as_json: AsJson = False,
) -> None:
    """Print how a provider is treated, and who says so."""
    book = _book()
    provider = book.providers.get(name)
    if provider is None:
        question = did_you_mean(name, book.providers)
        _complain(f"no such provider; {question or 'see mailwright provider list'}")
        raise typer.Exit(Exit.NONE)
    resolved = book.resolved(name)
    if as_json:
        document = {
            "provider": name,
            "title": provider.title,
            "mx": provider.matchers.mx,
            "domains": provider.matchers.domains,
            "limits": _limits(book, resolved),
        }
        print(json.dumps(document))
        return
    print(f"{name}: {provider.title}")
    print(f"MX hosts: {' '.join(provider.matchers.mx) or '-'}")
    print(f"domains:  {' '.join(provider.matchers.domains) or '-'}\n")
    _print_limits(book, resolved)


@provider_app.command("resolve")
def resolve_command(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Of a recipient.")],
    nameserver: Annotated[
        str | None,
        typer.Option(help="Ask this resolver: IP address, or address:port."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look a domain up: its site, MX hosts and provider, and every limit with its origin.

    Routes of a node are not known here. Exits with 1 when the domain takes no mail or
    cannot be looked up, with the reply that its mail would get.
    """
    try:
        canonical = canonical_domain(domain)
        servers, port = _nameservers(nameserver)
    except NoResolverConfiguration:
        _complain("this machine has no resolver; name one with --nameserver")
        raise typer.Exit(Exit.USAGE) from None
    except AddressError as error:
        _complain(f"no domain: {error.reason}")
        raise typer.Exit(Exit.USAGE) from None
    except UnitError as error:
        _complain(f"no name server: {error}")
        raise typer.Exit(Exit.USAGE) from None
    book = _book()
    resolver = DnspythonResolver(servers, port=port, clock=SystemClock())
    found = asyncio.run(_look_up(canonical, book, resolver))
    if isinstance(found, Reply):
        _print_reply(canonical, found, as_json=as_json)
        raise typer.Exit(Exit.NONE)
    if as_json:
        print(json.dumps(_document(canonical, book, found)))
    else:
        _print_found(canonical, book, found)


@provider_app.command("reference")
def reference_command() -> None:
    """Print the reference page of all providers as Markdown."""
    print(providers_page(_book()), end="")


@dataclass(frozen=True, slots=True)
class _Found:
    """A domain that has a site.

    Attributes:
        addresses: of each host; empty: none were found.
    """

    placement: Placement
    records: tuple[MxRecord, ...]
    addresses: dict[str, tuple[str, ...]]


class _NoRoutes:
    """Lets the MX decide everywhere."""

    def route_for(self, domain: str) -> Route | None:
        return None


async def _look_up(
    domain: str, book: ProfileBook, resolver: Resolver
) -> _Found | Reply:
    router = Router(resolver, _NoRoutes, book, SystemClock())
    site = await router.site_of(domain)
    if isinstance(site, Reply):
        return site
    records = tuple(
        MxRecord(preference, hop.host)
        for preference, hop in zip(site.preferences, site.hops, strict=True)
    )
    addresses = {}
    for record in records:
        answer = await resolver.addresses(record.host, want_v6=True)
        addresses[record.host] = answer.records
    return _Found(book.explain(domain, records), records, addresses)


def _nameservers(text: str | None) -> tuple[list[str], int]:
    """Return addresses and port of the resolvers to ask.

    Raises:
        UnitError: ``text`` names none.
    """
    if text is None:
        return system_nameservers(), 53
    try:
        return [str(ip_address(text))], 53
    except ValueError:
        endpoint = parse_host_port(text)
    try:
        return [str(ip_address(endpoint.host))], endpoint.port
    except ValueError:
        raise UnitError("a name cannot be asked", "give its IP address") from None


def _book() -> ProfileBook:
    ladder = DeliverySettings().retry
    return load_profiles([wait.total_seconds() for wait in ladder])


def _limits(book: ProfileBook, resolved: Resolved) -> dict[str, dict[str, Any]]:
    return {
        key: {
            "value": resolved.values[key],
            "origin": resolved.origins[key],
            "source": book.source_of(resolved, key),
        }
        for key in KEYS
        if key in resolved.values
    }


def _document(domain: str, book: ProfileBook, found: _Found) -> dict[str, Any]:
    placement = found.placement
    return {
        "domain": domain,
        "site": placement.key,
        "provider": placement.belonging.provider,
        "other_providers": placement.belonging.others,
        "mx": [
            {
                "preference": record.preference,
                "host": record.host,
                "provider": book.provider_of(record.host),
                "addresses": [
                    {"address": address, "is_global": _is_global(address)}
                    for address in found.addresses[record.host]
                ],
            }
            for record in found.records
        ],
        "limits": _limits(book, placement.resolved),
    }


def _print_found(domain: str, book: ProfileBook, found: _Found) -> None:
    belonging = found.placement.belonging
    print(f"domain:   {domain}")
    print(f"site:     {found.placement.key}")
    print(f"provider: {belonging.provider}", end="")
    if belonging.others:
        print(f" (with the stricter limits of {', '.join(belonging.others)})", end="")
    print("\n")
    table = Table("MX", "host", "provider", "addresses", box=None)
    for record in found.records:
        provider = book.provider_of(record.host)
        table.add_row(
            str(record.preference),
            record.host,
            "-" if provider == DEFAULT else provider,
            "\n".join(_address_texts(found.addresses[record.host])),
        )
    console = _console()
    console.print(table)
    console.print()
    _print_limits(book, found.placement.resolved)


def _address_texts(addresses: tuple[str, ...]) -> Iterator[str]:
    for address in addresses:
        note = "" if _is_global(address) else " (not globally routable: refused)"
        yield address + note
    if not addresses:
        yield "none found"


def _print_limits(book: ProfileBook, resolved: Resolved) -> None:
    table = Table("limit", "value", "from", "source", box=None)
    for key, each in _limits(book, resolved).items():
        text = value_text(key, each["value"])
        table.add_row(key, text, each["origin"], each["source"])
    _console().print(table)


def _print_reply(domain: str, reply: Reply, *, as_json: bool) -> None:
    if not as_json:
        print(f"{domain}: {reply}")
        return
    said = {"code": reply.code, "enhanced": reply.enhanced, "text": reply.text}
    print(json.dumps({"domain": domain, "reply": said}))


def _is_global(address: str) -> bool:
    return is_permitted(ip_address(address), ())


def _console() -> Console:
    # What other people wrote into DNS is text, never markup.
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    return Console(markup=False, highlight=False, width=width)


def _complain(text: str) -> None:
    typer.echo(text, err=True)
