"""No mail is sent to ourselves, nor to whoever is no better than we are."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.resolver import FakeResolver
from mailwright.accounts.directory import Route
from mailwright.clock import ManualClock
from mailwright.mta.ourselves import Ourselves, without_loop
from mailwright.mta.routing import Router
from mailwright.reply import Origin, Phase, Reply
from mailwright.reputation.provider import load_profiles
from mailwright.resolver import MxRecord
from mailwright.site import Site

SOURCES = {"198.51.100.9", "2001:db8::9", ""}
OURS = Ourselves(
    frozenset({"me.example", "mx.me.example"}),
    (("0.0.0.0", 25), ("127.0.0.1", 2525), ("192.0.2.5", 587)),  # noqa: S104
    lambda: SOURCES,
)
BOOK = load_profiles([300.0])


class Routes:
    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes

    def route_for(self, domain: str) -> Route | None:
        return self.routes.get(domain)


def site_of(
    resolver: FakeResolver,
    *,
    ours: Ourselves = OURS,
    port: int = 25,
    route: Route | None = None,
) -> Site | Reply:
    routes = Routes({"d.test": route} if route else {})
    router = Router(
        resolver, lambda: routes, BOOK, ManualClock(), smtp_port=port, ourselves=ours
    )
    return asyncio.run(router.site_of("d.test"))


def hosts(site: Site | Reply) -> list[str]:
    assert isinstance(site, Site), site
    return [hop.host for hop in site.hops]


def assert_loops(reply: Site | Reply) -> None:
    assert isinstance(reply, Reply)
    assert (reply.code, reply.enhanced) == (554, "5.4.6")
    assert reply.text.startswith("mail loops back to myself")
    assert (reply.origin, reply.phase) == (Origin.LOCAL, Phase.CONNECT)
    assert reply.is_permanent


@pytest.mark.parametrize("name", ["me.example", "mx.me.example"])
@pytest.mark.parametrize("ours", [OURS, Ourselves(OURS.names)])
def test_our_own_name_is_us_wherever_we_listen(name: str, ours: Ourselves) -> None:
    resolver = FakeResolver()
    resolver.set_mx("d.test", name)
    assert_loops(site_of(resolver, ours=ours))


def test_a_domain_without_mx_that_is_our_name_is_us() -> None:
    resolver = FakeResolver()
    resolver.set_addresses("me.example", v4=["192.0.2.7"])
    routes = Routes({})
    router = Router(resolver, lambda: routes, BOOK, ManualClock(), ourselves=OURS)
    assert_loops(asyncio.run(router.site_of("me.example")))


@pytest.mark.parametrize(
    ("literal", "port", "is_us"),
    [
        ("198.51.100.9", 25, True),  # a source of ours, and a listener on every address
        ("2001:db8::9", 25, True),
        ("127.0.0.1", 25, True),
        ("127.9.9.9", 25, True),
        ("198.51.100.8", 25, False),
        ("192.0.2.5", 587, True),  # a listener on just this address
        ("192.0.2.6", 587, False),
        ("198.51.100.9", 587, False),
        ("127.0.0.1", 2525, True),
        ("127.0.0.2", 2525, False),
        # Another server of this machine: nobody of ours listens there.
        ("198.51.100.9", 26, False),
        ("127.0.0.1", 26, False),
    ],
)
def test_an_address_is_us_where_one_of_our_listeners_answers(
    literal: str, port: int, is_us: bool
) -> None:
    resolver = FakeResolver()
    resolver.set_mx("d.test", "mx.d.test")
    family = "v6" if ":" in literal else "v4"
    resolver.set_addresses("mx.d.test", **{family: [literal]})
    found = site_of(resolver, port=port)
    if is_us:
        assert_loops(found)
    else:
        assert hosts(found) == ["mx.d.test"]


@pytest.mark.parametrize(
    ("listening", "literal", "is_us"),
    [
        ("localhost", "127.0.0.1", True),
        ("localhost", "198.51.100.9", False),
        ("mail.me.example", "198.51.100.9", True),
        ("::", "198.51.100.9", True),
        ("::1", "::1", True),
    ],
)
def test_a_listener_may_be_named(listening: str, literal: str, is_us: bool) -> None:
    ours = Ourselves(frozenset(), ((listening, 25),), lambda: SOURCES)
    assert ours.answers_at(literal, 25) is is_us


def test_only_hosts_that_are_better_than_we_are_stay() -> None:
    resolver = FakeResolver()
    resolver.set_mx(
        "d.test",
        (5, "better.test"),
        (10, "me.example"),
        (10, "equal.test"),
        (20, "worse.test"),
    )
    found = site_of(resolver)
    assert hosts(found) == ["better.test"]
    assert isinstance(found, Site)
    assert found.preferences == (5,)
    assert found.key == BOOK.place("d.test", [MxRecord(5, "better.test")])[0]


def test_whoever_is_equal_to_us_goes_too() -> None:
    resolver = FakeResolver()
    resolver.set_mx(
        "d.test", (10, "me.example"), (10, "equal.test"), (20, "worse.test")
    )
    assert_loops(site_of(resolver))


def test_without_a_listener_on_the_port_no_address_is_asked_for() -> None:
    resolver = FakeResolver()
    resolver.set_mx("d.test", "a.test", "b.test")
    site_of(resolver, port=2500)
    assert resolver.asked == [("MX", "d.test")]


def test_a_host_that_cannot_be_found_is_not_us() -> None:
    resolver = FakeResolver()
    resolver.set_mx("d.test", "gone.test", "broken.test")
    resolver.fail("broken.test")
    assert hosts(site_of(resolver)) == ["gone.test", "broken.test"]


@pytest.mark.parametrize(
    ("host", "port", "is_us"),
    [
        ("127.0.0.1", 2525, True),
        ("127.0.0.1", 2526, False),
        ("192.0.2.5", 587, True),
        ("me.example", 587, True),
        ("me.example", 2500, False),  # another server behind our name
        ("relay.example", 587, False),
    ],
)
def test_a_route_to_our_own_listener_is_a_loop(
    host: str, port: int, is_us: bool
) -> None:
    route = Route(1, "d.test", host, port, "commands", "none", "", None)
    found = site_of(FakeResolver(), route=route)
    if is_us:
        assert_loops(found)
    else:
        assert hosts(found) == [host]


def test_a_route_that_is_given_lets_another_server_of_this_name_take_the_mail() -> None:
    resolver = FakeResolver()
    resolver.set_mx("d.test", "me.example")
    route = Route(1, "d.test", "127.0.0.1", 26, "commands", "none", "", None)
    assert hosts(site_of(resolver, route=route)) == ["127.0.0.1"]


RECORDS = st.lists(
    st.builds(MxRecord, st.integers(0, 4), st.sampled_from("abcdef")), max_size=8
)


@given(RECORDS, st.sets(st.sampled_from("abcdef"), max_size=3))
def test_what_stays_is_better_than_all_of_us(
    records: list[MxRecord], ours: set[str]
) -> None:
    left = without_loop(records, ours)
    own = [record.preference for record in records if record.host in ours]
    for record in records:
        stays = all(record.preference < preference for preference in own)
        assert (record in left) is stays
