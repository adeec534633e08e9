"""★ Which provider a receiving side belongs to.

An MX host says who will answer, and who answers sets the limits: a suffix that it
matches comes first. The recipient domain decides only about hosts that no suffix knows;
so a list of domains that has aged (a domain moved to another provider) does no harm.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from mailwright.resolver import MxRecord

#: The provider of every site that matches none.
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Matchers:
    """How a provider is recognised. All names are lower-case A-labels.

    Attributes:
        mx: suffixes of MX hosts: ``"example.net"`` is that host and every one below it.
        domains: recipient domains, exactly.
    """

    mx: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two matchers that could both be right; ``first`` and ``second`` may be one."""

    first: str
    second: str
    what: str


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose a domain's MX hosts are.

    Attributes:
        provider: of the most preferred hosts.
        others: whose the other hosts are, in alphabetical order; their limits count too.
        told_by_hosts: whether the set of hosts alone tells the provider.
    """

    provider: str
    others: tuple[str, ...] = ()
    told_by_hosts: bool = True


class Matching:
    """Finds providers. Immutable; a look-up costs a dictionary read per label."""

    def __init__(self, matchers: Mapping[str, Matchers]) -> None:
        self._by_suffix = {
            suffix: name for name, each in matchers.items() for suffix in each.mx
        }
        self._by_domain = {
            domain: name for name, each in matchers.items() for domain in each.domains
        }

    def of_host(self, host: str) -> str | None:
        """Return the provider of the MX host ``host``, if a suffix knows it."""
        labels = host.split(".")
        for start in range(len(labels)):
            found = self._by_suffix.get(".".join(labels[start:]))
            if found is not None:
                return found
        return None

    def of(self, domain: str, records: Sequence[MxRecord]) -> Belonging:
        """Return whose ``domain`` with these MX hosts (at least one) is.

        Among hosts of equal preference a known provider comes before an unknown one,
        then the alphabet decides: the order of an answer means nothing.
        """
        best = min(record.preference for record in records)
        unknown = self._by_domain.get(domain, DEFAULT)
        hosts = {record: self.of_host(record.host) for record in records}
        preferred = {
            name for record, name in hosts.items() if record.preference == best
        }
        provider = min(filter(None, preferred), default=unknown)
        everyone = {name or unknown for name in hosts.values()}
        told = {name or DEFAULT for name in hosts.values()} == {provider}
        return Belonging(provider, tuple(sorted(everyone - {provider})), told)


def overlaps(matchers: Iterable[tuple[str, Matchers]]) -> list[Overlap]:
    """Return every pair of matchers of which no order of files should decide.

    A suffix below another one is such a pair, also within one provider, where it is
    superfluous.
    """
    suffixes, domains = [], []
    for name, each in matchers:
        suffixes += [(suffix, name) for suffix in each.mx]
        domains += [(domain, name) for domain in each.domains]
    found = []
    for (one, first), (other, second) in combinations(sorted(suffixes), 2):
        if one == other or one.endswith(f".{other}") or other.endswith(f".{one}"):
            found.append(Overlap(first, second, f"MX suffixes {one} and {other}"))
    for (one, first), (other, second) in combinations(sorted(domains), 2):
        if one == other:
            found.append(Overlap(first, second, f"domain {one}"))
    return found
