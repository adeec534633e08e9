from ipaddress import ip_address
from typing import Any

import pytest

from fakes.door import make_ports, make_settings, open_settings
from mailwright.mta.submission.door import Door, peer_ip


@pytest.mark.parametrize(
    ("first", "second", "is_one_peer"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("0.0.0.1", "::1", False),
    ],
)
def test_a_v4_address_or_a_v6_64_is_one_peer(
    first: str, second: str, is_one_peer: bool
) -> None:
    door = Door(make_settings(max_connections_per_ip=1), make_ports())
    assert door.enter(ip_address(first))
    assert door.enter(ip_address(second)) is not is_one_peer
    assert door.counts.connections == 2
    assert door.counts.refused_connections == int(is_one_peer)


def test_who_leaves_makes_room() -> None:
    door = Door(make_settings(max_connections=1), make_ports())
    one, two = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert door.enter(one)
    assert not door.enter(two)
    door.leave(one)
    assert door.enter(two)
    assert door.open_connections == 1


def test_only_the_listeners_networks_get_its_credential() -> None:
    door = Door(open_settings(), make_ports())
    assert door.network_credential(ip_address("127.0.0.1")) is not None
    assert door.network_credential(ip_address("::1")) is not None
    assert door.network_credential(ip_address("192.0.2.1")) is None
    gone = Door(open_settings(network_credential="retired"), make_ports())
    assert gone.network_credential(ip_address("127.0.0.1")) is None


def test_ids_are_never_given_twice() -> None:
    doors = [Door(make_settings(), make_ports()) for _ in range(2)]
    ids = [door.fresh_id() for door in doors for _ in range(100)]
    assert len(set(ids)) == 200
    assert all(each.isalnum() and each.islower() for each in ids)


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("192.0.2.1", 25), "192.0.2.1"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 25, 0, 2), "fe80::1"),
        (None, None),
        ("", None),
        ("/run/socket", None),
        ((), None),
        (("somewhere", 25), None),
    ],
)
def test_the_peer_is_read_from_what_the_system_says(
    peername: Any, address: str | None
) -> None:
    assert peer_ip(peername) == (ip_address(address) if address else None)
