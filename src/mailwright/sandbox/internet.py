"""A captive internet on loopback: name server, receivers, and what they took.

Nothing leaves the machine: every MX host is an address in 127.0.0.0/8, all on one port
that the system chose, so a node under rehearsal needs three settings: the name server,
``smtp_port``, and 127.0.0.0/8 among the networks that it may connect to.
"""

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final, Self

from mailwright.clock import Clock, SystemClock
from mailwright.sandbox.behaviour import Behaviour, Conduct
from mailwright.sandbox.certificates import Identity, make_identity
from mailwright.sandbox.dns import Records, SandboxDns
from mailwright.sandbox.host import Host, Tally
from mailwright.sandbox.inbox import Inbox, InboxSettings
from mailwright.sandbox.receivers import Receiver

NETWORK: Final = "127.0.0.0/8"
MAX_HOSTS: Final = 1000
_TRIES: Final = 20  # for a port that is free on all addresses


@dataclass(frozen=True, slots=True)
class SandboxDomain:
    """A domain that receives.

    Attributes:
        name: in lower case.
        behaviour: how its receivers treat senders.
        hosts: MX hosts, most preferred first; none: ``mx.<name>``. Domains that name
            the same hosts share them; a host takes its delays and its TLS from the
            first.
        records: what DNS tells instead, for a domain that has no receivers.
    """

    name: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    hosts: tuple[str, ...] = ()
    records: Records | None = None

    @property
    def mx_hosts(self) -> tuple[str, ...]:
        """The hosts that receive for it."""
        if self.records is not None:
            return ()
        return self.hosts or (f"mx.{self.name}",)


class Internet:
    """The whole of it. Use as ``async with Internet(domains) as net``.

    Args:
        domains: names, which accept everything, or :class:`SandboxDomain`.
        inbox: what is kept and verified.
        clock: times greylists and certificates.
        executor: for verifications, instead of processes of its own.

    Attributes:
        dns: the name server; records may be changed at any time.
        inbox: what was taken.
        conduct: decides about recipients; behaviours may be changed at any time.
    """

    def __init__(
        self,
        domains: Iterable[str | SandboxDomain],
        *,
        inbox: InboxSettings | None = None,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        listed = [
            SandboxDomain(domain) if isinstance(domain, str) else domain
            for domain in domains
        ]
        self._domains = {domain.name: domain for domain in listed}
        self._clock = clock or SystemClock()
        self.dns = SandboxDns()
        self.inbox = Inbox(self.dns.texts, inbox, executor)
        self.conduct = Conduct(
            {domain.name: domain.behaviour for domain in listed if domain.mx_hosts}
        )
        self._receivers: dict[str, Receiver] = {}
        self._identity: Identity | None = None
        self._port = 0
        self._stack = AsyncExitStack()

    @property
    def domains(self) -> Mapping[str, SandboxDomain]:
        """The domains by name."""
        return self._domains

    @property
    def nameserver(self) -> tuple[str, int]:
        """Host and port of the name server."""
        return self.dns.address

    @property
    def smtp_port(self) -> int:
        """The port of all receivers; 0 before they listen."""
        return self._port

    @property
    def certificate_pem(self) -> bytes:
        """The receivers' certificate, which a client that verifies has to trust.

        Raises:
            RuntimeError: it is not made yet.
        """
        if self._identity is None:
            raise RuntimeError("the sandbox is not started")
        return self._identity.certificate_pem

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """What happened at each MX host."""
        return {name: receiver.tally for name, receiver in self._receivers.items()}

    def publish_txt(self, name: str, text: str) -> None:
        """Publish a TXT record, such as a DKIM key; verifications use it at once."""
        self.dns.put_text(name, text)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.dns)
            await stack.enter_async_context(self.inbox)
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        first_domain: dict[str, str] = {}
        for domain in self._domains.values():
            for host in domain.mx_hosts:
                first_domain.setdefault(host, domain.name)
        if len(first_domain) > MAX_HOSTS:
            raise ValueError(f"over {MAX_HOSTS} MX hosts in the sandbox")
        self._identity = await make_identity(tuple(first_domain), self._clock.now())
        tasks = await asyncio.TaskGroup().__aenter__()
        # Not entered on the stack: what goes wrong around the sandbox is no error of
        # its tasks and must not come back in a group.
        stack.push_async_callback(tasks.__aexit__, None, None, None)
        for host, name in first_domain.items():
            self._receivers[host] = Receiver(
                Host(
                    name=host,
                    behaviour=partial(self.conduct.behaviours.__getitem__, name),
                    conduct=self.conduct,
                    inbox=self.inbox,
                    context=self._identity.context,
                    tasks=tasks,
                    clock=self._clock,
                )
            )
        stack.push_async_callback(self._close_receivers)
        await self._listen()
        for domain in self._domains.values():
            self.dns.put(domain.name, _records_of(domain))

    async def _listen(self) -> None:
        for tries_left in reversed(range(_TRIES)):
            self._port = 0
            try:
                for number, (name, receiver) in enumerate(self._receivers.items()):
                    address = f"127.0.{number // 250}.{number % 250 + 2}"
                    self._port = await receiver.listen(address, self._port)
                    self.dns.put(name, Records(addresses=(address,)))
            except OSError:
                # Somebody has this port on one of our addresses.
                await self._close_receivers()
                if not tries_left:
                    raise
            else:
                return

    async def _close_receivers(self) -> None:
        for receiver in self._receivers.values():
            await receiver.close()


def _records_of(domain: SandboxDomain) -> Records:
    if domain.records is not None:
        return domain.records
    pairs = enumerate(domain.mx_hosts, 1)
    return Records(mx=tuple((10 * number, host) for number, host in pairs))
