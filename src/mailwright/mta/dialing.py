"""From a site to a session with one of its hosts, or to the reply that says why not.

Hosts are tried in the order of their preference, equal ones in random order (RFC 5321
§5.1); an address that is not globally routable is refused before anything is sent to it
unless its network is allowed by name, because whoever controls a domain's MX would else
choose what this machine connects to. A failed opportunistic handshake is remembered and
the host is tried once more in clear.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from typing import Final

from mailwright.accounts.directory import Source
from mailwright.clock import Clock
from mailwright.mta.connection import TICK_S
from mailwright.mta.sessions.session import (
    Call,
    OnAttempt,
    Session,
    Sessions,
    TlsFailed,
)
from mailwright.mta.smtp.client import Terms, Timeouts
from mailwright.mta.smtp.greeting import Login
from mailwright.mta.tls import TlsMemory
from mailwright.reply import Origin, Phase, Reply, local_reply
from mailwright.resolver import Outcome, Resolver
from mailwright.routable import IPAddress, Network, is_permitted
from mailwright.site import Hop, Site, TlsDemand

#: Addresses that one dial connects to, at most.
MAX_ADDRESSES: Final = 5
#: Of these, so many may answer and refuse: the hosts of a site mostly agree.
MAX_REFUSALS: Final = 2


@dataclass(frozen=True, slots=True)
class DialSettings:
    """Bounds of dialling. Seconds.

    Attributes:
        resolve_s: for all questions to DNS of one dial.
        connect_s: for TCP to one address.
        tls_s: for one handshake.
        tick_s: between two looks at a deadline.
        smtp: for replies.
    """

    resolve_s: float = 20
    connect_s: float = 30
    tls_s: float = 30
    tick_s: float = TICK_S
    smtp: Timeouts = field(default_factory=Timeouts)


class Dialer:
    """Opens connections to sites."""

    def __init__(
        self,
        resolver: Resolver,
        sessions: Sessions,
        memory: TlsMemory,
        clock: Clock,
        *,
        allowed_networks: Callable[[], Sequence[Network]] = tuple,
        password: Callable[[int], str | None] = lambda _: None,
        settings: DialSettings = DialSettings(),
    ) -> None:
        """Take collaborators.

        Args:
            resolver: for addresses of hosts.
            sessions: opens them.
            memory: hosts whose TLS is broken.
            clock: for deadlines and the memory.
            allowed_networks: asked at each dial: not globally routable, yet allowed.
            password: of a smarthost by the key ring's id; ``None`` when it is gone.
            settings: bounds.
        """
        self._resolver = resolver
        self._sessions = sessions
        self._memory = memory
        self._clock = clock
        self._allowed_networks = allowed_networks
        self._password = password
        self._settings = settings
        self._random = Random()  # noqa: S311 - spreads load, guards nothing

    def apply(self, settings: DialSettings) -> None:
        """Take over new bounds; they act on connections that are opened from now on."""
        self._settings = settings

    async def open(
        self, site: Site, source: Source, on_attempt: OnAttempt
    ) -> Session | Reply:
        """Return a session that is ready for mail, or why there is none.

        A remote reply is preferred to local ones: it says more. Cancelling closes what
        is open.
        """
        terms = self._terms(site, source)
        if isinstance(terms, Reply):
            return terms
        why = local_reply(451, "4.4.4", "site has no hosts", Phase.CONNECT)
        resolve_by = self._clock.steady() + self._settings.resolve_s
        addresses_left, refusals_left = MAX_ADDRESSES, MAX_REFUSALS
        for hop in in_order(site, self._random):
            patience_s = resolve_by - self._clock.steady()
            found = await self._addresses(hop, source, patience_s)
            if isinstance(found, Reply):
                why = _telling(why, found)
                continue
            for address in found[:addresses_left]:
                addresses_left -= 1
                call = self._call(hop, address, source, terms)
                opened = await self._dial(call, on_attempt)
                if not isinstance(opened, Reply):
                    return opened
                why = _telling(why, opened)
                refusals_left -= opened.origin is Origin.REMOTE
                if not refusals_left:
                    return why
            if not addresses_left:
                break
        return why

    def _terms(self, site: Site, source: Source) -> Terms | Reply:
        profile, login = site.profile, None
        if site.login is not None:
            user, sealed = site.login
            password = self._password(sealed)
            if password is None:
                return local_reply(
                    454, "4.7.0", "password of the smarthost is not there", Phase.AUTH
                )
            login = Login(user, password)
        return Terms(
            ehlo_name=source.ehlo_name,
            tls=TlsDemand.REQUIRED if login is not None else profile.tls,
            pipelining=profile.pipelining,
            messages=max(profile.messages_per_connection, 1),
            login=login,
            timeouts=self._settings.smtp,
        )

    async def _addresses(
        self, hop: Hop, source: Source, patience_s: float
    ) -> Sequence[IPAddress] | Reply:
        """Return the addresses of ``hop`` that ``source`` may connect to."""
        version = ip_address(source.address).version if source.address else None
        literal = as_literal(hop.host)
        if literal is not None:
            found: list[IPAddress] = [literal]
        else:
            try:
                async with asyncio.timeout(max(patience_s, 0)):
                    answer = await self._resolver.addresses(
                        hop.host, want_v6=version == 6
                    )
            except TimeoutError:
                return _no_route(hop, "4.4.3", "DNS took too long")
            if answer.outcome is not Outcome.FOUND:
                return _no_route(hop, "4.4.3", f"no address: {answer.reason}")
            found = [ip_address(text) for text in answer.records]
        fitting = [one for one in found if version in {None, one.version}]
        if not fitting:
            return _no_route(hop, "4.4.4", f"no address for IPv{version}")
        allowed = self._allowed_networks()
        permitted = [one for one in fitting if is_permitted(one, allowed)]
        if not permitted:
            return _no_route(hop, "4.4.4", "address is not globally routable")
        return permitted

    def _call(self, hop: Hop, address: IPAddress, source: Source, terms: Terms) -> Call:
        settings = self._settings
        return Call(
            hop.host,
            str(address),
            hop.port,
            source.address,
            terms,
            settings.connect_s,
            settings.tls_s,
            settings.tick_s,
        )

    async def _dial(self, call: Call, on_attempt: OnAttempt) -> Session | Reply:
        """Connect and greet; after a failed opportunistic handshake once in clear."""
        clear = replace(call, terms=replace(call.terms, tls=TlsDemand.NONE))
        is_choice = call.terms.tls is TlsDemand.OPPORTUNISTIC
        if is_choice and self._memory.is_broken(call.host, self._clock.now()):
            call, is_choice = clear, False
        opened = await self._sessions.open(call, on_attempt)
        if isinstance(opened, TlsFailed) and is_choice:
            self._memory.remember(call.host, opened.reply.text, self._clock.now())
            opened = await self._sessions.open(clear, on_attempt)
        return opened.reply if isinstance(opened, TlsFailed) else opened


def in_order(site: Site, random: Random) -> list[Hop]:
    """Return the hops of ``site``, most preferred first, equal ones shuffled."""
    ranked = [
        (preference, random.random(), hop)
        for preference, hop in zip(site.preferences, site.hops, strict=True)
    ]
    ranked.sort(key=lambda one: one[:2])
    return [hop for _, _, hop in ranked]


def as_literal(host: str) -> IPAddress | None:
    """Return ``host`` as the address that it spells, with or without brackets."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _no_route(hop: Hop, enhanced: str, text: str) -> Reply:
    return local_reply(451, enhanced, f"{hop.host}: {text}", Phase.CONNECT)


def _telling(first: Reply, then: Reply) -> Reply:
    """Return the one of two refusals that says more about the site."""
    return first if first.origin is Origin.REMOTE else then
