"""A table of exact outcomes: what each kind of domain leads to."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from fakes.resolver import FakeResolver
from mailwright.accounts.directory import Directory, Route
from mailwright.clock import ManualClock
from mailwright.mta.routing import MAX_HOPS, ROUTE_TTL_S, Router
from mailwright.reply import Origin, Phase, Reply
from mailwright.reputation.provider import load_profiles
from mailwright.site import Hop, Pipelining, Site, TlsDemand

PROFILE = load_profiles([300.0]).default_profile()
SMARTHOST = Route(1, "*", "relay.example", 587, "transactions", "required", "me", 7)


def directory(routes: Mapping[str, Route]) -> Directory:
    return Directory(1, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, routes)


class World:
    """A router with its surroundings."""

    def __init__(self, routes: Mapping[str, Route] | None = None) -> None:
        self.resolver = FakeResolver()
        self.clock = ManualClock()
        self.directory = directory(routes or {})
        self.router = Router(
            self.resolver,
            lambda: self.directory,
            load_profiles([300.0]),
            self.clock,
            smtp_port=2525,
            sites_max=3,
        )

    def of(self, domain: str) -> Site | Reply:
        return asyncio.run(self.router.site_of(domain))

    def site(self, domain: str) -> Site:
        site = self.of(domain)
        assert isinstance(site, Site)
        return site


def hosts(site: Site | Reply) -> list[str]:
    assert isinstance(site, Site)
    return [hop.host for hop in site.hops]


REFUSALS: list[tuple[str, Callable[[FakeResolver], None], int, str]] = [
    ("null MX", lambda r: r.set_null_mx("d.test"), 556, "5.1.10"),
    ("no domain", lambda r: None, 550, "5.1.2"),
    ("servfail", lambda r: r.fail("d.test"), 451, "4.4.3"),
    ("no usable MX", lambda r: r.set_mx("d.test"), 451, "4.4.4"),
    ("no MX, no address", lambda r: r.set_addresses("d.test"), 550, "5.1.2"),
]


@pytest.mark.parametrize(("case", "prepare", "code", "enhanced"), REFUSALS)
def test_domains_without_a_site(
    case: str, prepare: Callable[[FakeResolver], None], code: int, enhanced: str
) -> None:
    world = World()
    prepare(world.resolver)
    reply = world.of("d.test")
    assert isinstance(reply, Reply), case
    assert (reply.code, reply.enhanced) == (code, enhanced)
    assert (reply.origin, reply.phase) == (Origin.LOCAL, Phase.CONNECT)


def test_a_failure_on_the_way_to_an_implicit_mx_is_transient() -> None:
    world = World()
    world.resolver.set_addresses("d.test")
    mx = asyncio.run(world.resolver.mx("d.test"))
    world.resolver.fail("d.test")
    world.resolver._mx["d.test"] = mx
    reply = world.of("d.test")
    assert isinstance(reply, Reply)
    assert reply.is_transient


def test_mx_hosts_are_tried_by_preference() -> None:
    world = World()
    world.resolver.set_mx("d.test", (20, "b.test"), (5, "c.test"), (20, "a.test"))
    site = world.site("d.test")
    assert site.hops == tuple(Hop(f"{name}.test", 2525) for name in "cab")
    assert site.preferences == (5, 20, 20)
    assert site.profile == PROFILE
    assert site.login is None


def test_of_many_hosts_the_most_preferred_are_kept() -> None:
    world = World()
    crowd = [(n, f"mx{n}.test") for n in range(40)]
    world.resolver.set_mx("d.test", *reversed(crowd))
    assert hosts(world.of("d.test")) == [f"mx{n}.test" for n in range(MAX_HOPS)]


@pytest.mark.parametrize("family", [{"v4": ["192.0.2.1"]}, {"v6": ["2001:db8::1"]}])
def test_a_domain_with_an_address_only_is_its_own_mx(
    family: dict[str, list[str]],
) -> None:
    world = World()
    world.resolver.set_addresses("d.test", **family)
    assert hosts(world.of("d.test")) == ["d.test"]


def test_a_failure_is_never_taken_for_an_implicit_mx() -> None:
    world = World()
    world.resolver.set_addresses("d.test", v4=["192.0.2.1"])
    addresses = world.resolver._v4["d.test"]
    world.resolver.fail("d.test")
    world.resolver._v4["d.test"] = addresses
    reply = world.of("d.test")
    assert isinstance(reply, Reply)
    assert reply.code == 451


def test_domains_with_the_same_hosts_share_one_site() -> None:
    world = World()
    for domain in ("one.test", "two.test"):
        world.resolver.set_mx(domain, "a.mx.test", "b.mx.test")
    world.resolver.set_mx("three.test", "b.mx.test", "a.mx.test")
    assert world.site("one.test") is world.site("two.test")
    assert world.site("one.test").key == world.site("three.test").key
    assert hosts(world.of("three.test")) == ["b.mx.test", "a.mx.test"]


def test_an_answer_is_kept_for_its_time_and_asked_again_after() -> None:
    world = World()
    world.resolver.set_mx("d.test", "a.test", ttl_s=100)
    site = world.site("d.test")
    assert site.until == 100
    world.clock.advance(99)
    assert world.of("d.test") is site
    assert world.resolver.asked == [("MX", "d.test")]
    world.resolver.set_mx("d.test", "b.test", ttl_s=100)
    world.clock.advance(1)
    assert hosts(world.of("d.test")) == ["b.test"]


def test_a_shared_site_does_not_lengthen_a_domains_answer() -> None:
    world = World()
    world.resolver.set_mx("long.test", "a.test", ttl_s=1000)
    world.resolver.set_mx("short.test", "a.test", ttl_s=10)
    assert world.site("long.test") is world.site("short.test")
    world.clock.advance(11)
    world.resolver.set_mx("short.test", "b.test")
    assert hosts(world.of("short.test")) == ["b.test"]
    assert hosts(world.of("long.test")) == ["a.test"]


def test_failures_are_left_to_the_resolver_to_remember() -> None:
    world = World()
    world.resolver.fail("d.test")
    world.of("d.test")
    world.resolver.set_mx("d.test", "a.test")
    assert hosts(world.of("d.test")) == ["a.test"]


def test_the_oldest_domains_are_forgotten() -> None:
    world = World()
    for number in range(10):
        world.resolver.set_mx(f"{number}.test", f"mx{number}.test")
        world.of(f"{number}.test")
    assert list(world.router._by_domain) == ["7.test", "8.test", "9.test"]
    assert len(world.router._by_key) == 3


def test_a_route_beats_the_mx_and_brings_its_own_profile() -> None:
    world = World({"*": SMARTHOST})
    site = world.site("anything.test")
    assert site.hops == (Hop("relay.example", 587),)
    assert site.login == ("me", 7)
    assert site.profile == replace(
        PROFILE, pipelining=Pipelining.TRANSACTIONS, tls=TlsDemand.REQUIRED
    )
    assert world.resolver.asked == []


def test_the_route_of_a_domain_beats_the_one_for_all() -> None:
    own = Route(2, "d.test", "127.0.0.1", 2500, "commands", "none", "", None)
    world = World({"*": SMARTHOST, "d.test": own})
    assert hosts(world.of("d.test")) == ["127.0.0.1"]
    assert world.site("d.test").login is None
    assert hosts(world.of("e.test")) == ["relay.example"]


def test_domains_of_one_route_share_its_site_and_logins_do_not() -> None:
    other = replace(SMARTHOST, domain="x.test", login="other", sealed_password=8)
    world = World({"*": SMARTHOST, "x.test": other})
    assert world.site("a.test") is world.site("b.test")
    assert world.site("x.test").key != world.site("a.test").key


def test_a_changed_route_acts_at_once() -> None:
    world = World({"*": SMARTHOST})
    assert world.site("d.test").until == ROUTE_TTL_S
    world.directory = directory({"*": replace(SMARTHOST, host="new.example")})
    assert hosts(world.of("d.test")) == ["new.example"]
