from ipaddress import ip_address, ip_network
from random import Random

import pytest

from mailwright.mta.dialing import as_literal, in_order
from mailwright.routable import is_permitted
from mailwright.site import Hop, Pipelining, Profile, Site, TlsDemand


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_the_wide_net_is_permitted(address: str) -> None:
    assert is_permitted(ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_globally_routable_is_refused(address: str) -> None:
    assert not is_permitted(ip_address(address), ())


def test_a_network_is_allowed_by_name_and_no_other() -> None:
    allowed = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert is_permitted(ip_address("127.0.0.5"), allowed)
    assert is_permitted(ip_address("::ffff:127.0.0.5"), allowed)
    assert is_permitted(ip_address("fd00::5"), allowed)
    assert not is_permitted(ip_address("10.0.0.5"), allowed)
    assert not is_permitted(ip_address("::1"), allowed)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_a_hop_may_be_a_literal(host: str, address: str) -> None:
    assert as_literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host", ["mx.example.com", "127.1", "0x7f.1", "2130706433", ""]
)
def test_what_only_some_take_for_a_literal_is_a_name(host: str) -> None:
    assert as_literal(host) is None


def test_equal_preference_is_shuffled_and_others_keep_their_order() -> None:
    hops = tuple(Hop(f"mx{n}.example.com", 25) for n in range(6))
    profile = Profile("x", 1, 1, Pipelining.NONE, TlsDemand.NONE, (1.0,))
    site = Site("s", hops, (10, 10, 10, 20, 20, 5), profile)
    orders = {tuple(in_order(site, Random(seed))) for seed in range(40)}  # noqa: S311
    assert len(orders) > 4
    for order in orders:
        assert order[0] == hops[5]
        assert set(order[1:4]) == set(hops[:3])
        assert set(order[4:]) == set(hops[3:5])
