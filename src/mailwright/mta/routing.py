"""Where the mail of a domain goes: a route that someone set, else its MX hosts.

The answer is a :class:`~mailwright.site.Site`, or the reply that a receiver would have
given. What nobody could find out is transient; only the domain itself can say that it
takes no mail. Hosts that are this node, and all that are no better, are left out.

Standards: RFC 5321 §5.1 (MX, implicit MX), RFC 7505 (null MX), RFC 3463 (codes).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Final, TypeVar

from mailwright.accounts.directory import Route
from mailwright.clock import Clock
from mailwright.mta.ourselves import Ourselves, without_loop
from mailwright.mta.ports import Profiles, Routes
from mailwright.reply import Phase, Reply, local_reply
from mailwright.resolver import MxAnswer, MxRecord, Outcome, Resolver
from mailwright.site import Hop, Pipelining, Site, TlsDemand

#: Hosts of a domain that are tried. RFC 5321 §5.1 asks for at least two.
MAX_HOPS: Final = 10
#: A changed route acts within this time; it is a dictionary that is asked.
ROUTE_TTL_S: Final = 5.0

ValueT = TypeVar("ValueT")

_NULL_MX: Final = local_reply(
    556, "5.1.10", "the domain accepts no mail (null MX)", Phase.CONNECT
)
_NO_DOMAIN: Final = local_reply(
    550, "5.1.2", "the domain does not exist", Phase.CONNECT
)
_NO_HOST: Final = local_reply(
    550, "5.1.2", "the domain has neither an MX nor an address", Phase.CONNECT
)
# Somebody's slip in a zone, and no word about the recipient: it may be mended.
_NO_USABLE_MX: Final = local_reply(
    451, "4.4.4", "no MX of the domain names a host", Phase.CONNECT
)
_LOOP: Final = local_reply(
    554, "5.4.6", "mail loops back to myself: this node is the best MX", Phase.CONNECT
)


class Router:
    """Finds the site of a domain.

    Remembers sites, not failures: those are the resolver's to remember. Domains with
    the same hosts get the same object while its answer holds.

    Args:
        routes: returns the shared settings as they are now.
        smtp_port: of MX hosts; 25 but in a rehearsal.
        sites_max: domains remembered.
        ourselves: which hosts are this node.
    """

    def __init__(
        self,
        resolver: Resolver,
        routes: Callable[[], Routes],
        profiles: Profiles,
        clock: Clock,
        smtp_port: int = 25,
        sites_max: int = 65_536,
        ourselves: Ourselves = Ourselves(),  # noqa: B008 - it is immutable
    ) -> None:
        self._resolver = resolver
        self._routes = routes
        self._profiles = profiles
        self._clock = clock
        self._smtp_port = smtp_port
        self._sites_max = sites_max
        self._ourselves = ourselves
        #: Each with the steady time at which the domain's own answer is stale.
        self._by_domain: dict[str, tuple[Site, float]] = {}
        self._by_key: dict[str, Site] = {}

    async def site_of(self, domain: str) -> Site | Reply:
        """Return the site of ``domain`` (A-labels), or a local reply: why there is none.

        Cost: a dictionary read, or one question to the resolver (two without any MX).
        """
        route = self._routes().route_for(domain)
        if route is not None:
            return self._site_of_route(route)
        known = self._by_domain.get(domain)
        if known is not None and self._clock.steady() < known[1]:
            return known[0]
        answer = await self._resolver.mx(domain)
        if answer.outcome is Outcome.NO_DATA:
            answer = await self._implicit_mx(domain, answer)
        site = _refusal(answer) or await self._site(domain, answer)
        if isinstance(site, Reply):
            self._by_domain.pop(domain, None)
            return site
        return self._remember(domain, site)

    def forget(self) -> None:
        """Work every site out anew; what DNS said is asked of the resolver's memory."""
        self._by_domain.clear()
        self._by_key.clear()

    async def _implicit_mx(self, domain: str, answer: MxAnswer) -> MxAnswer:
        """Return the domain itself as its MX, if it has an address of either family."""
        found = await self._resolver.addresses(domain)
        if found.outcome is Outcome.NO_DATA:
            found = await self._resolver.addresses(domain, want_v6=True)
        if found.outcome is not Outcome.FOUND:
            return MxAnswer(found.outcome, (), found.ttl_s, found.reason)
        ttl_s = min(answer.ttl_s, found.ttl_s)
        return MxAnswer(Outcome.FOUND, (MxRecord(0, domain),), ttl_s)

    async def _site(self, domain: str, answer: MxAnswer) -> Site | Reply:
        ordered = sorted(answer.records, key=lambda mx: (mx.preference, mx.host))
        records = ordered[:MAX_HOPS]
        left = without_loop(records, await self._our_hosts(records))
        if not left:
            return _LOOP
        key, profile = self._profiles.place(domain, left)
        return Site(
            key=key,
            hops=tuple(Hop(record.host, self._smtp_port) for record in left),
            preferences=tuple(record.preference for record in left),
            profile=profile,
            until=self._clock.steady() + answer.ttl_s,
        )

    async def _our_hosts(self, records: Sequence[MxRecord]) -> set[str]:
        """Return which of these hosts are this node.

        Addresses are asked for only where one of our listeners could answer.
        """
        ours = self._ourselves
        names = {record.host for record in records}
        found = {name for name in names if ours.is_named(name)}
        if not ours.listens_on(self._smtp_port):
            return found
        async with asyncio.TaskGroup() as tasks:
            asked = {
                name: tasks.create_task(self._is_us(name), name=f"is {name} us?")
                for name in names - found
            }
        return found | {name for name, task in asked.items() if task.result()}

    async def _is_us(self, host: str) -> bool:
        """Return whether an address of ``host`` is ours; who cannot be found is not."""
        answer = await self._resolver.addresses(host, want_v6=True)
        return any(
            self._ourselves.answers_at(literal, self._smtp_port)
            for literal in answer.records
        )

    def _site_of_route(self, route: Route) -> Site | Reply:
        if self._leads_back(route):
            return _LOOP
        # All that a connection depends on: two routes that differ in it never share one.
        key = f"{route.host}:{route.port} {route.tls} {route.pipelining}"
        login = None
        if route.login and route.sealed_password is not None:
            login = (route.login, route.sealed_password)
            key += f" {route.login} {route.sealed_password}"
        now = self._clock.steady()
        known = self._by_key.get(key)
        if known is not None and now < known.until:
            return known
        # A smarthost that knows us is no MX, even if it is called like one.
        profiles = self._profiles
        profile = replace(
            profiles.default_profile()
            if login
            else profiles.profile_of_host(route.host),
            pipelining=Pipelining(route.pipelining),
            tls=TlsDemand(route.tls),
        )
        hops = (Hop(route.host, route.port),)
        site = Site(key, hops, (0,), profile, login, now + ROUTE_TTL_S)
        _put(self._by_key, key, site, self._sites_max)
        return site

    def _leads_back(self, route: Route) -> bool:
        ours = self._ourselves
        if ours.is_named(route.host):
            return ours.listens_on(route.port)
        try:
            ip_address(route.host)
        except ValueError:
            return False
        return ours.answers_at(route.host, route.port)

    def _remember(self, domain: str, site: Site) -> Site:
        """Return ``site``, or the equal one that other domains have already."""
        shared = site
        twin = self._by_key.get(site.key)
        if twin is not None and twin.until >= site.until:
            if replace(twin, until=site.until) == site:
                shared = twin
        else:
            _put(self._by_key, site.key, site, self._sites_max)
        _put(self._by_domain, domain, (shared, site.until), self._sites_max)
        return shared


def _put(cache: dict[str, ValueT], key: str, value: ValueT, size: int) -> None:
    """Put ``value`` at the young end; the oldest goes when there is no room."""
    cache.pop(key, None)
    if len(cache) >= size:
        del cache[next(iter(cache))]
    cache[key] = value


def _refusal(answer: MxAnswer) -> Reply | None:
    match answer.outcome:
        case Outcome.FOUND:
            if answer.records == ():
                return _NO_USABLE_MX
            return _NULL_MX if answer.records[0].host == "" else None
        case Outcome.NO_DOMAIN:
            return _NO_DOMAIN
        case Outcome.NO_DATA:
            return _NO_HOST
        case Outcome.FAILED:
            return local_reply(451, "4.4.3", answer.reason, Phase.CONNECT)
