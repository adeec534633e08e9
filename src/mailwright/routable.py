"""Which addresses of the network this node may connect to.

Others choose where we connect: whoever controls a domain's MX, the URL of a webhook or of
a list. An address that is not globally routable is permitted only where an operator
allowed its network by name.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
IPAddress: TypeAlias = IPv4Address | IPv6Address

#: What carries an IPv4 address inside: NAT64 (RFC 6052 §2.1).
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: Not for the wide net, though Python (to 3.12) takes some for global.
_SPECIAL: Final[tuple[Network, ...]] = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relay anycast, RFC 7526
    IPv6Network("64:ff9b:1::/48"),  # local-use NAT64, RFC 8215
    IPv6Network("2001::/32"),  # Teredo: tunnels to any IPv4 address
    IPv6Network("fec0::/10"),  # site-local, RFC 3879
)


def is_permitted(address: IPAddress, allowed: Sequence[Network]) -> bool:
    """Return whether we may connect to ``address``.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as what it is.
    """
    inner = _embedded(address)
    if any(inner in network for network in allowed):
        return True
    if inner.is_multicast or inner.is_reserved or not inner.is_global:
        return False
    return not any(inner in network for network in _SPECIAL)


def _embedded(address: IPAddress) -> IPAddress:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner
    return address
