"""Domains whose site is being found out: bounded, and fair between tenants.

Pure bookkeeping; whoever drives it asks the router.
"""

from collections import OrderedDict, deque
from itertools import islice
from typing import Final

from mailwright.ids import TenantId
from mailwright.queue.line import Line
from mailwright.reply import Reply
from mailwright.site import Site

#: Look-ups under way at once.
WORKERS: Final = 32
#: Sites remembered by domain.
SITES_MAX: Final = 100_000


class Lookups:
    """Lines that wait for their domain's site, and the sites that are known."""

    def __init__(self, *, workers: int = WORKERS, sites_max: int = SITES_MAX) -> None:
        self._workers_max = workers
        self._sites_max = sites_max
        # Not an ordered one, for what that takes: so the oldest go many at a time.
        self._sites: dict[str, Site] = {}
        #: Domains whose look-up began before the last :meth:`forget`.
        self._outdated: set[str] = set()
        self._lines: dict[str, list[Line]] = {}
        self._turns: OrderedDict[TenantId, deque[str]] = OrderedDict()
        self._workers = 0

    def __len__(self) -> int:
        return len(self._lines)

    def known(self, domain: str, now_s: float) -> Site | None:
        """Return the site of ``domain`` if it is known and not stale."""
        site = self._sites.get(domain)
        if site is None or site.until <= now_s:
            return None
        return site

    def remember(self, domain: str, site: Site) -> None:
        """Keep where mail of ``domain`` goes."""
        self._sites.pop(domain, None)
        self._sites[domain] = site
        if len(self._sites) > self._sites_max:
            # To find the first of a dictionary takes as long as many were first.
            for oldest in list(islice(self._sites, len(self._sites) // 8 or 1)):
                del self._sites[oldest]

    def forget(self) -> None:
        """Know no site any more; what is being looked up now is not remembered."""
        self._sites.clear()
        self._outdated.update(self._lines)

    def add(self, line: Line) -> bool:
        """Let ``line`` wait; return whether one more worker should start."""
        domain = line.key.domain
        waiting = self._lines.get(domain)
        if waiting is not None:
            if line not in waiting:
                waiting.append(line)
            return False
        self._lines[domain] = [line]
        self._turns.setdefault(line.key.tenant, deque()).append(domain)
        if self._workers >= self._workers_max:
            return False
        self._workers += 1
        return True

    def next_domain(self) -> str | None:
        """Return the domain to look up next; ``None``: this worker has ended."""
        if not self._turns:
            self._workers -= 1
            return None
        tenant, domains = self._turns.popitem(last=False)
        domain = domains.popleft()
        if domains:
            self._turns[tenant] = domains
        return domain

    def end(self, domain: str, answer: Site | Reply) -> list[Line]:
        """Remember ``answer`` and return the lines that waited for it."""
        if domain in self._outdated:
            self._outdated.discard(domain)
        elif isinstance(answer, Site):
            self.remember(domain, answer)
        return self._lines.pop(domain)
