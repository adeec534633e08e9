"""Limits on guessing secrets, asked before any hash is computed.

Three buckets guard a login. Each is debited when an attempt is let in and gets its token
back when the secret was right, so only failures cost anything:

* *(account, network)*: a few mistakes, then a slow trickle;
* *network* (IPv4 address, IPv6 /48), whatever accounts it tries;
* *account*, over all networks together.

An account under attack must not lock its owner out. So the account's bucket does not
count for a network that guessed wrong at most a few times lately: a thousand attackers
get a few guesses each and then share the account's trickle, while the owner, even from
an address never seen before, gets in at the first try. And a network that lately logged
in to the account has one generous bucket instead of the three: a second program there
that still has the old secret does not lock the first one out.

Memory is bounded: what was used longest ago is forgotten first. Pure: ``now`` is steady
seconds.

Sources: GCRA (ITU-T I.371 Annex A) keeps one number for each bucket; RFC 4954 §4 leaves
the limits to the server.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

#: Hosting companies hand out whole /48s; a guesser has as many addresses as it likes.
_V6_PREFIX: Final = 48
#: Names longer than any login of ours are one account, so that they cost no memory.
_MAX_ACCOUNT_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """``burst`` failures at once, and another one every ``interval_s`` seconds."""

    burst: int
    interval_s: float


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """How many wrong secrets are looked at.

    Attributes:
        own: for one account from a network that lately logged in to it.
        pair: for one account from another network.
        network: for one network, all accounts together.
        account: for one account, all guessing networks together.
        free_mistakes: wrong secrets after which a network counts as guessing.
        wrong_is_remembered_s: how long it counts so after the last one.
        right_is_remembered_s: how long a network counts as the account's own.
        entries: at most, in each of the six memories.
    """

    own: Allowance = Allowance(burst=100, interval_s=0.1)
    pair: Allowance = Allowance(burst=5, interval_s=30.0)
    network: Allowance = Allowance(burst=10, interval_s=10.0)
    account: Allowance = Allowance(burst=50, interval_s=2.0)
    free_mistakes: int = 3
    wrong_is_remembered_s: float = 3_600.0
    right_is_remembered_s: float = 7 * 86_400.0
    entries: int = 20_000


class _Recent(Generic[_K, _V]):
    """A bounded memory that forgets what was set longest ago."""

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K, default: _V) -> _V:
        return self._entries.get(key, default)

    def set(self, key: _K, value: _V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class _Buckets(Generic[_K]):
    """Buckets of one kind. Kept is when each will be full again."""

    __slots__ = ("_allowance", "_full_at")

    def __init__(self, allowance: Allowance, size: int) -> None:
        self._allowance = allowance
        self._full_at: _Recent[_K, float] = _Recent(size)

    def wait_s(self, key: _K, now: float) -> float:
        """Return how long until ``key`` has a token; 0 or less: it has one."""
        burst, interval_s = self._allowance.burst, self._allowance.interval_s
        return max(self._full_at.get(key, now), now) - now - (burst - 1) * interval_s

    def take(self, key: _K, now: float) -> None:
        full_at = max(self._full_at.get(key, now), now) + self._allowance.interval_s
        # Attempts that this bucket did not guard must not run it into debt.
        emptiest = now + self._allowance.burst * self._allowance.interval_s
        self._full_at.set(key, min(full_at, emptiest))

    def give_back(self, key: _K, now: float) -> None:
        full_at = self._full_at.get(key, now) - self._allowance.interval_s
        self._full_at.set(key, max(full_at, now))

    def __len__(self) -> int:
        return len(self._full_at)


class GuessLimiter:
    """Says whether a login may be tried. One thread; ask, hash and report in one go."""

    __slots__ = (
        "_accounts",
        "_limits",
        "_networks",
        "_own",
        "_pairs",
        "_right_at",
        "_wrong",
    )

    def __init__(self, limits: GuessLimits | None = None) -> None:
        self._limits = limits = limits or GuessLimits()
        self._own: _Buckets[tuple[str, str]] = _Buckets(limits.own, limits.entries)
        self._pairs: _Buckets[tuple[str, str]] = _Buckets(limits.pair, limits.entries)
        self._networks: _Buckets[str] = _Buckets(limits.network, limits.entries)
        self._accounts: _Buckets[str] = _Buckets(limits.account, limits.entries)
        # Of each network: how many wrong secrets lately, and when the last one.
        self._wrong: _Recent[str, tuple[int, float]] = _Recent(limits.entries)
        self._right_at: _Recent[tuple[str, str], float] = _Recent(limits.entries)

    def take(self, ip: str, account: str, now: float) -> float:
        """Return 0 if a secret may be looked at now, else the seconds to wait.

        With 0 the attempt is paid for; :meth:`succeeded` gives that back.

        Args:
            ip: the peer, as text; IPv4-mapped IPv6 is the IPv4 address.
            account: the name that was given, known or not.
            now: steady seconds.
        """
        pair = _pair(ip, account)
        name, network = pair
        if self._is_own(pair, now):
            wait_s = self._own.wait_s(pair, now)
            if wait_s > 0:
                return wait_s
            self._own.take(pair, now)
            return 0.0
        wait_s = max(self._pairs.wait_s(pair, now), self._networks.wait_s(network, now))
        if self._mistakes(network, now) >= self._limits.free_mistakes:
            wait_s = max(wait_s, self._accounts.wait_s(name, now))
        if wait_s > 0:
            return wait_s
        self._pairs.take(pair, now)
        self._networks.take(network, now)
        self._accounts.take(name, now)
        return 0.0

    def failed(self, ip: str, account: str, now: float) -> None:
        """Remember that the secret which :meth:`take` let in was wrong."""
        _, network = _pair(ip, account)
        self._wrong.set(network, (self._mistakes(network, now) + 1, now))

    def succeeded(self, ip: str, account: str, now: float) -> None:
        """Give back what :meth:`take` took, and remember the network as the owner's."""
        pair = _pair(ip, account)
        name, network = pair
        if self._is_own(pair, now):
            self._own.give_back(pair, now)
        else:
            self._pairs.give_back(pair, now)
            self._networks.give_back(network, now)
            self._accounts.give_back(name, now)
        self._right_at.set(pair, now)

    def statistics(self) -> dict[str, int]:
        """Return how many entries each memory has."""
        return {
            "own": len(self._own),
            "pairs": len(self._pairs),
            "networks": len(self._networks),
            "accounts": len(self._accounts),
            "wrong": len(self._wrong),
            "right": len(self._right_at),
        }

    def _is_own(self, pair: tuple[str, str], now: float) -> bool:
        right_at = self._right_at.get(pair, -math.inf)
        return now - right_at < self._limits.right_is_remembered_s

    def _mistakes(self, network: str, now: float) -> int:
        count, at = self._wrong.get(network, (0, -math.inf))
        return count if now - at < self._limits.wrong_is_remembered_s else 0


def _pair(ip: str, account: str) -> tuple[str, str]:
    return account[:_MAX_ACCOUNT_CHARS], network_of(ip)


def network_of(ip: str) -> str:
    """Return the network that guesses from ``ip`` count for: IPv4 itself, IPv6's /48.

    What is no IP address (a Unix socket's peer) is one network.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(ip)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return f"{int(address) >> (128 - _V6_PREFIX):x}::/{_V6_PREFIX}"
        address = address.ipv4_mapped
    return str(address)
