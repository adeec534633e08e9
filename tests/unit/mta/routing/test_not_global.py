"""Whoever controls a domain's MX does not choose what this machine connects to."""

import asyncio
from ipaddress import ip_network

import pytest

from fakes.resolver import FakeResolver
from fakes.scripted_receiver import ScriptedReceiver
from mailwright.accounts.directory import Source
from mailwright.clock import SystemClock
from mailwright.ids import SourceId
from mailwright.mta.dialing import Dialer, DialSettings
from mailwright.mta.sessions.local import LocalSession, LocalSessions
from mailwright.mta.sessions.session import Session
from mailwright.mta.tls import RecentTlsFailures, load_contexts
from mailwright.reply import Origin, Phase, Reply
from mailwright.site import Hop, Pipelining, Profile, Site, TlsDemand

SOURCE = Source(SourceId(1), "one", "", "out.example.org")
PROFILE = Profile("default", 1, 1, Pipelining.NONE, TlsDemand.NONE, (60.0,))
LOOPBACK = ("127.0.0.1/32",)


class Nothing:
    """Prepares nothing: no mail is sent here."""

    def prepare(self, *_: object, **__: object) -> None:
        raise NotImplementedError


def opened(
    hosts: dict[str, list[str]], allowed: tuple[str, ...]
) -> tuple[Session | Reply, int]:
    """Dial hosts in this order; return what came of it and the connections seen."""

    async def run() -> tuple[Session | Reply, int]:
        resolver = FakeResolver()
        for host, literals in hosts.items():
            resolver.set_addresses(
                host,
                v4=[one for one in literals if ":" not in one],
                v6=[one for one in literals if ":" in one],
            )
        networks = [ip_network(text) for text in allowed]
        dialer = Dialer(
            resolver,
            LocalSessions(Nothing(), load_contexts(), SystemClock()),
            RecentTlsFailures(),
            SystemClock(),
            allowed_networks=lambda: networks,
            settings=DialSettings(connect_s=5, tick_s=0.02),
        )
        async with ScriptedReceiver() as receiver:
            hops = tuple(Hop(host, receiver.port) for host in hosts)
            site = Site("s", hops, tuple(range(len(hops))), PROFILE)
            found = await dialer.open(site, SOURCE, lambda *_: None)
            if not isinstance(found, Reply):
                await found.give_up("the test is over")
            return found, len(receiver.peers)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "literal",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "192.168.0.1", "224.0.0.1"],  # noqa: S104
)
def test_an_mx_that_is_not_globally_routable_waits_and_gets_no_connection(
    literal: str,
) -> None:
    found, connections = opened({"mx.d.test": [literal]}, ())
    assert isinstance(found, Reply)
    assert str(found) == "451 4.4.4 mx.d.test: address is not globally routable"
    assert (found.phase, found.origin) == (Phase.CONNECT, Origin.LOCAL)
    assert connections == 0


def test_the_next_host_is_tried_instead() -> None:
    found, connections = opened(
        {"inside.d.test": ["10.0.0.1"], "mx.d.test": ["127.0.0.1"]}, LOOPBACK
    )
    assert isinstance(found, LocalSession)
    assert connections == 1


def test_of_a_hosts_addresses_only_the_permitted_are_tried() -> None:
    found, connections = opened(
        {"mx.d.test": ["10.0.0.1", "169.254.169.254", "127.0.0.1"]}, LOOPBACK
    )
    assert isinstance(found, LocalSession)
    assert connections == 1


def test_a_network_that_is_allowed_by_name_opens_no_other() -> None:
    found, connections = opened({"mx.d.test": ["127.0.0.1"]}, ("10.0.0.0/8",))
    assert isinstance(found, Reply)
    assert (found.code, found.enhanced, connections) == (451, "4.4.4", 0)


def test_a_host_without_address_waits_too() -> None:
    found, _ = opened({"mx.d.test": []}, LOOPBACK)
    assert isinstance(found, Reply)
    assert (found.code, found.enhanced) == (451, "4.4.3")
