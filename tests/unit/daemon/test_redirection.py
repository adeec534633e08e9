"""A change of the ways that mail takes reaches the lines that are under way."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from fakes.queueing import make_directory
from mailwright.accounts.directory import Directory, Route, StreamClass, ThrottleRule
from mailwright.daemon.redirection import Redirection
from mailwright.ids import CredentialId, PoolId, SendingDomainId, StreamId, TenantId
from mailwright.queue.book import LineBook
from mailwright.queue.line import Line, LineKey
from mailwright.queue.lookups import Lookups
from mailwright.site import Pipelining, Profile, Site, TlsDemand

START = datetime(2026, 3, 1, tzinfo=UTC)
ROUTE = Route(1, "*", "10.0.0.1", 25, "commands", "none", "", None)
SITE = Site(
    "a", (), (), Profile("", 1, 1, Pipelining.NONE, TlsDemand.NONE, (1.0,)), until=1e9
)


class Scheduler:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def forget_sites(self) -> None:
        self.told.append("forget")

    def restart(self, line: Line) -> None:
        self.told.append(line.key.domain)

    async def reconsider(self) -> None:
        self.told.append("reconsider")

    def override(self, overrides: Mapping[str, Mapping[str, object]]) -> None:
        self.told.append(f"override {' '.join(overrides)}")


def key(domain: str) -> LineKey:
    return LineKey(
        TenantId(1),
        None,
        StreamId(1),
        SendingDomainId(1),
        CredentialId(1),
        StreamClass.BULK,
        domain,
        PoolId(1),
    )


def redirected(*versions: Directory) -> list[str]:
    """Return what the scheduler is told as these come into force."""
    scheduler, numbers = Scheduler(), iter(range(1, 100))
    book = LineBook(lambda: next(numbers))
    for domain in ("a.example", "b.example"):
        book.line_for(key(domain), START)
    in_force = [versions[0]]

    redirection = Redirection(lambda: in_force[0], book, scheduler, scheduler)
    for each in versions:
        in_force[0] = each
        asyncio.run(redirection.look())
    return scheduler.told


def test_another_route_starts_every_line_anew_once() -> None:
    first = make_directory()
    second = replace(first, version=2, routes={"*": ROUTE})
    told = redirected(first, second, second)
    assert told == ["forget", "a.example", "b.example"]


def test_changed_limits_ask_again_and_start_nothing_anew() -> None:
    first = make_directory()
    limit = ThrottleRule(1, None, "9/h", frozenset(), ())
    second = replace(first, version=2, throttles=(limit,))
    assert redirected(first, second, second) == ["reconsider"]


def test_a_changed_profile_is_there_before_lines_start_anew() -> None:
    first = make_directory()
    second = replace(first, version=2, provider_changes={"google": {"tls": "none"}})
    told = redirected(first, second)
    assert told == ["override google", "forget", "a.example", "b.example"]


def test_a_change_of_anything_else_disturbs_nothing() -> None:
    first = make_directory()
    second = replace(first, version=2, tenants={}, streams={})
    assert redirected(first, second) == []


def test_a_look_up_of_before_is_not_remembered() -> None:
    lookups = Lookups()
    book = LineBook(iter(range(1, 9)).__next__)
    lines = [book.line_for(key(name), START) for name in ("a.example", "b.example")]
    for line in lines:
        lookups.add(line)
    lookups.remember("c.example", SITE)
    assert lookups.next_domain() == "a.example"

    lookups.forget()

    assert lookups.end("a.example", SITE) == lines[:1]
    assert lookups.known("a.example", 0.0) is None
    assert lookups.known("c.example", 0.0) is None
    lookups.add(lines[0])
    lookups.end("a.example", SITE)
    assert lookups.known("a.example", 0.0) is SITE
