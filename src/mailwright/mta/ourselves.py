"""★ Which MX hosts are this node itself.

Mail for a domain whose best MX is the sender of that mail would go round for ever. A
host is this node by its name, whatever its address, and by its address where one of our
own SMTP listeners would answer: another server of the same machine is nobody's loop.

Standards: RFC 5321 §5.1 (a host that finds itself among the MX hosts).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from mailwright.resolver import MxRecord

IPAddress: TypeAlias = IPv4Address | IPv6Address

_ANY: Final = IPv4Address(0)


def _no_addresses() -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What this node is called and where it listens.

    Attributes:
        names: host names of the node, lower case.
        listening: (address, port) of its SMTP listeners: a literal, maybe the
            unspecified one, or a name.
        addresses: asked each time: literals of the sources, ``""`` among them maybe.
    """

    names: frozenset[str] = frozenset()
    listening: tuple[tuple[str, int], ...] = ()
    addresses: Callable[[], Collection[str]] = field(default=_no_addresses)

    def is_named(self, host: str) -> bool:
        """Whether ``host`` is our name."""
        return host.lower().removesuffix(".") in self.names

    def listens_on(self, port: int) -> bool:
        """Whether an SMTP listener has this port, on any address."""
        return any(port == own for _, own in self.listening)

    def answers_at(self, literal: str, port: int) -> bool:
        """Whether a connection to this endpoint would reach one of our listeners."""
        target = ip_address(literal)
        return any(
            own_port == port and self._is_bound(host, target)
            for host, own_port in self.listening
        )

    def _is_bound(self, host: str, target: IPAddress) -> bool:
        """Whether a listener on ``host`` takes what is sent to ``target``."""
        if host == "localhost":
            return target.is_loopback
        try:
            bound = ip_address(host)
        except ValueError:  # a name: some address of ours
            bound = _ANY
        if bound.is_unspecified:
            return target.is_loopback or str(target) in self.addresses()
        return bound == target


def without_loop(
    records: Sequence[MxRecord], ours: Collection[str]
) -> tuple[MxRecord, ...]:
    """Return the hosts that may be tried when those named in ``ours`` are ourselves.

    Whoever is no better than we are would hand the mail back: equal preference goes too.
    """
    own = [record.preference for record in records if record.host in ours]
    if not own:
        return tuple(records)
    best = min(own)
    return tuple(record for record in records if record.preference < best)
