"""What the sessions of one listener share."""

import itertools
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from mailwright.accounts.directory import Credential
from mailwright.clock import Clock
from mailwright.mta.ports import Intake
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.ports import Admits, Logins, PeerIp
from mailwright.mta.submission.settings import DoorSettings
from mailwright.mta.submission.spool import Spools

_V6_HOST_BITS: Final = 64  # who has one address of a /64 has them all


@dataclass(slots=True)
class DoorCounts:
    """What a listener has seen since it was opened.

    Attributes:
        connections: accepted from the system.
        refused_connections: over a limit, answered 421.
        accepted: messages answered 250.
        refused: messages answered 4xx or 5xx after the dot.
        violations: broken framing, or octets behind STARTTLS.
        login_failures: refused logins.
        timeouts: connections closed for being slow or idle.
        failures: errors of ours, answered 451.
    """

    connections: int = 0
    refused_connections: int = 0
    accepted: int = 0
    refused: int = 0
    violations: int = 0
    login_failures: int = 0
    timeouts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class DoorPorts:
    """Who does the work behind the door; shared by all listeners.

    Attributes:
        budget: of octets in memory, one for all doors of the node.
        spools: where content waits that is too large to wait in memory.
    """

    logins: Logins
    admission: Admits
    intake: Intake
    clock: Clock
    budget: ByteBudget
    spools: Spools


class Door:
    """One listener's settings, ports and counts. Used on the event loop only."""

    def __init__(self, settings: DoorSettings, ports: DoorPorts) -> None:
        self.settings = settings
        self.ports = ports
        self.counts = DoorCounts()
        self._open = 0
        self._open_by_network: Counter[int] = Counter()
        # Ids of sessions serve in Message-IDs: never the same twice, also after a restart.
        self._id_prefix = secrets.token_hex(8)
        self._id_numbers = itertools.count(1)

    @property
    def open_connections(self) -> int:
        """Connections whose session has not ended."""
        return self._open

    def fresh_id(self) -> str:
        """Return an id that no session of any node has; an atom without dots."""
        return f"{self._id_prefix}{next(self._id_numbers):x}"

    def network_credential(self, peer: PeerIp) -> Credential | None:
        """Return as what ``peer`` may submit without AUTH."""
        if not self._is_named(peer):
            return None
        return self.ports.logins.for_network(self.settings.network_credential)

    def enter(self, peer: PeerIp) -> bool:
        """Count a connection in, unless there are too many; pair with :meth:`leave`."""
        self.counts.connections += 1
        network = _network_of(peer)
        is_full = self._open >= self.settings.max_connections or (
            self._open_by_network[network] >= self.settings.max_connections_per_ip
            and not self._is_named(peer)
        )
        if is_full:
            self.counts.refused_connections += 1
            if not self._open_by_network[network]:
                del self._open_by_network[network]
            return False
        self._open += 1
        self._open_by_network[network] += 1
        return True

    def leave(self, peer: PeerIp) -> None:
        """Count a connection out."""
        network = _network_of(peer)
        self._open -= 1
        self._open_by_network[network] -= 1
        if not self._open_by_network[network]:
            del self._open_by_network[network]

    def _is_named(self, peer: PeerIp) -> bool:
        return any(peer in network for network in self.settings.networks)


def peer_ip(peername: object) -> PeerIp | None:
    """Return the address in what ``get_extra_info("peername")`` gave.

    A v4 address that was mapped into v6 is the v4 address. ``None``: it has gone already,
    or is none.
    """
    if not isinstance(peername, tuple) or not peername:
        return None
    return _canonical_ip(str(peername[0]))


@lru_cache(maxsize=1_024)
def _canonical_ip(host: str) -> PeerIp | None:
    # Most connections come from a few hosts; reading an address takes 4 µs.
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network_of(peer: PeerIp) -> int:
    """Return a number for who counts as one peer: a v4 address or a v6 /64."""
    if isinstance(peer, IPv4Address):
        return int(peer)
    return (int(peer) >> _V6_HOST_BITS) + (1 << 64)
