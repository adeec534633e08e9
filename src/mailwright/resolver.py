"""DNS as a port, and its adapter on dnspython.

Outcomes are values: a question that nobody could answer is :attr:`Outcome.FAILED`, never
an exception, and is never mistaken for "there is none" (RFC 5321 §5.1: an implicit MX
only when no MX *exists*). The adapter talks to recursive resolvers, which follow CNAMEs
and validate; it remembers answers within limits of its own, asks a question once however
many wait for it, and serves a positive answer up to a day past its time when the
resolvers fail. A dead resolver gets at most 50 queries a second.

What is remembered, how a dead resolver is spared and how an answer is read are pure and
stand first; they share their values with the adapter and nothing with anybody else, so
this is one floor and one file.

Standards: RFC 2308 (negative answers), RFC 7505 (null MX), RFC 8767 (stale answers).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.resolver
import dns.rrset
from dns.rdatatype import RdataType
from typing_extensions import override

from mailwright.address import AddressError, canonical_domain
from mailwright.clock import Clock
from mailwright.dns_exchange import exchange

MAX_RECORDS: Final = 20  # of one answer; more hosts than this are an attack
MIN_TTL_S: Final = 60.0
MAX_TTL_S: Final = 86_400.0
MAX_NEGATIVE_TTL_S: Final = 300.0
STALE_S: Final = 86_400.0  # past its time, a positive answer still beats none
FAILED_TTL_S: Final = 10.0  # times the failures in a row, up to three
_MAX_TRIES: Final = 6  # of one question
DEAD_AFTER: Final = 10  # queries in a row without any answer
DEAD_QUERIES_PER_S: Final = 50


class Outcome(Enum):
    """What became of a question."""

    FOUND = "found"
    NO_DATA = "no data"  # the name exists, without records of this type
    NO_DOMAIN = "no domain"  # NXDOMAIN, or no name that could exist
    FAILED = "failed"  # SERVFAIL, REFUSED, timeout, garbage: nobody knows


@dataclass(frozen=True, slots=True)
class MxRecord:
    """One mail exchanger.

    Attributes:
        preference: lower is tried first.
        host: lower-case A-labels without a trailing dot; ``""`` is the null MX
            (RFC 7505), which then is the only record.
    """

    preference: int
    host: str


RecordT = TypeVar("RecordT")


# Without slots: a frozen class with them cannot be made by the aliases below.
@dataclass(frozen=True)
class Answer(Generic[RecordT]):
    """An answer.

    Attributes:
        records: at most 20; empty unless ``FOUND``. MX by preference, then host; may be
            empty then too, when no record names a host that could exist.
        ttl_s: seconds for which asking again brings nothing new.
        reason: why there is none, or why it may be old; ours, without anything a
            stranger wrote.
    """

    outcome: Outcome
    records: tuple[RecordT, ...] = ()
    ttl_s: float = 0.0
    reason: str = ""


MxAnswer: TypeAlias = Answer[MxRecord]
#: Address literals, IPv4 before IPv6.
AddressAnswer: TypeAlias = Answer[str]
#: The strings of each record joined, undecoded.
TxtAnswer: TypeAlias = Answer[bytes]


class Resolver(Protocol):
    """Answers questions about names; never raises for what DNS says or fails to say."""

    async def mx(self, domain: str) -> MxAnswer:
        """Return the mail exchangers of ``domain``."""
        ...

    async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
        """Return the IPv4 addresses of ``host``, with ``want_v6`` also the IPv6 ones."""
        ...

    async def txt(self, name: str) -> TxtAnswer:
        """Return the TXT records of ``name``."""
        ...


class QueryLimiter:
    """Keeps us from beating a dead resolver. Pure: times are steady seconds."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._next_at = 0.0

    @property
    def is_dead(self) -> bool:
        """Whether nothing has been answered for a while."""
        return self._unanswered >= DEAD_AFTER

    def take(self, now: float) -> bool:
        """Return whether a query may leave now, and count it."""
        if not self.is_dead:
            return True
        if now < self._next_at:
            return False
        self._next_at = now + 1 / DEAD_QUERIES_PER_S
        return True

    def note(self, *, answered: bool) -> None:
        """Learn what became of a query; any answer, SERVFAIL too, is a sign of life."""
        self._unanswered = 0 if answered else self._unanswered + 1


@dataclass(slots=True)
class _Entry:
    """An answer without its time, and times of ours: there are tens of thousands."""

    outcome: Outcome
    records: tuple[Any, ...]
    reason: str
    fresh_until: float
    stale_until: float
    failures: int = 0

    def told(self, now: float) -> Answer[Any]:
        """Return it with the time that it has left."""
        return Answer(self.outcome, self.records, self.fresh_until - now, self.reason)


def _entry(
    answer: Answer[Any], fresh_until: float, stale_until: float, failures: int = 0
) -> _Entry:
    return _Entry(
        answer.outcome,
        answer.records,
        answer.reason,
        fresh_until,
        stale_until,
        failures,
    )


_Question: TypeAlias = tuple[RdataType, str]


class AnswerCache:
    """What we were told, with times of our own. Pure: times are steady seconds.

    At most ``size`` questions; the one asked longest ago goes first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[_Question, _Entry] = {}

    def get(self, question: _Question, now: float) -> Answer[Any] | None:
        """Return the answer while it is fresh, with the time that it has left."""
        entry = self._entries.get(question)
        if entry is None or entry.fresh_until <= now:
            return None
        # Moved to the young end: dictionaries keep the order of insertion.
        self._entries[question] = self._entries.pop(question)
        return entry.told(now)

    def put(self, question: _Question, answer: Answer[Any], now: float) -> Answer[Any]:
        """Remember ``answer`` and return what to tell: for a failure, maybe an old one."""
        old = self._entries.pop(question, None)
        if answer.outcome is Outcome.FAILED:
            entry = self._failed(old, answer, now)
        else:
            is_found = answer.outcome is Outcome.FOUND
            longest = MAX_TTL_S if is_found else MAX_NEGATIVE_TTL_S
            until = now + min(max(answer.ttl_s, MIN_TTL_S), longest)
            entry = _entry(answer, until, until + STALE_S if is_found else 0.0)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[question] = entry
        return entry.told(now)

    def stale(
        self, question: _Question, answer: Answer[Any], now: float
    ) -> Answer[Any]:
        """Return an old positive answer in place of the failure ``answer``, if any."""
        old = self._entries.get(question)
        return answer if old is None else _instead_of(answer, old, now)

    def _failed(self, old: _Entry | None, answer: Answer[Any], now: float) -> _Entry:
        failures = 1 + (old.failures if old is not None else 0)
        until = now + FAILED_TTL_S * min(failures, 3)
        if old is None or now >= old.stale_until:
            return _entry(answer, until, 0.0, failures)
        kept = _instead_of(answer, old, now)
        return _entry(kept, until, old.stale_until, failures)


def _instead_of(failure: Answer[Any], old: _Entry, now: float) -> Answer[Any]:
    if now >= old.stale_until:
        return failure
    return replace(
        failure,
        outcome=Outcome.FOUND,
        records=old.records,
        reason=f"old answer, {failure.reason}",
    )


@dataclass(slots=True)
class _Flight:
    """A question on its way; ``answer`` stays ``None`` when who asked gave up."""

    landed: asyncio.Event
    answer: Answer[Any] | None = None


class DnspythonResolver:
    """Asks recursive resolvers over UDP, and TCP when the answer is truncated.

    Args:
        nameservers: address literals, asked in this order; two rounds.
        port: of all of them.
        timeout_s: for one question with all its tries, once it is on the wire.
        clock: its steady side times the cache.
        cache_max: questions remembered, about 1 KB each.
        concurrency: questions on the wire at once; more wait their turn.
    """

    def __init__(
        self,
        nameservers: Sequence[str],
        *,
        clock: Clock,
        port: int = 53,
        timeout_s: float = 5.0,
        cache_max: int = 65_536,
        concurrency: int = 64,
    ) -> None:
        self._tries = (*nameservers, *nameservers)[:_MAX_TRIES]
        self._port = port
        self._timeout_s = timeout_s
        self._clock = clock
        self._cache = AnswerCache(cache_max)
        self._limiter = QueryLimiter()
        self._slots = asyncio.Semaphore(concurrency)
        self._flights: dict[_Question, _Flight] = {}

    async def mx(self, domain: str) -> MxAnswer:
        """Return the mail exchangers of ``domain``, most preferred first."""
        return await self._lookup(RdataType.MX, domain)

    async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
        """Return the addresses of ``host``.

        With ``want_v6`` one family suffices: a failure of the other only shortens the
        time the answer holds.
        """
        v4: AddressAnswer = await self._lookup(RdataType.A, host)
        if not want_v6 or v4.outcome is Outcome.NO_DOMAIN:
            return v4
        v6: AddressAnswer = await self._lookup(RdataType.AAAA, host)
        return _both_families(v4, v6)

    async def txt(self, name: str) -> TxtAnswer:
        """Return the TXT records of ``name``, in no order."""
        return await self._lookup(RdataType.TXT, name)

    async def _lookup(self, kind: RdataType, name: str) -> Answer[Any]:
        try:
            question = (kind, canonical_domain(name.removesuffix(".")))
        except AddressError:
            return Answer(Outcome.NO_DOMAIN, (), MAX_TTL_S, "not a domain name")
        while True:
            answer = self._cache.get(question, self._clock.steady())
            if answer is not None:
                return answer
            flight = self._flights.get(question)
            if flight is None:
                return await self._lead(question)
            await flight.landed.wait()
            if flight.answer is not None:
                return flight.answer
            # Who asked was cancelled: one of those who waited asks now.

    async def _lead(self, question: _Question) -> Answer[Any]:
        """Ask for all who want to know."""
        flight = self._flights[question] = _Flight(asyncio.Event())
        try:
            if self._limiter.is_dead and self._slots.locked():
                # Nobody queues behind questions that wait for a dead resolver.
                flight.answer = self._down(question)
            else:
                async with self._slots:
                    flight.answer = await self._ask(question)
        finally:
            del self._flights[question]
            flight.landed.set()
        return flight.answer

    async def _ask(self, question: _Question) -> Answer[Any]:
        if not self._limiter.take(self._clock.steady()):
            return self._down(question)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._try_all(question)
        except TimeoutError:
            self._limiter.note(answered=False)
            answer = _failed("the resolver did not answer in time")
        return self._cache.put(question, answer, self._clock.steady())

    def _down(self, question: _Question) -> Answer[Any]:
        # Not remembered: nothing was learnt about this name.
        down = _failed("the resolver is down")
        return self._cache.stale(question, down, self._clock.steady())

    async def _try_all(self, question: _Question) -> Answer[Any]:
        kind, name = question
        answer = _failed("the resolver did not answer")
        failed: set[str] = set()
        for index, server in enumerate(self._tries):
            if server in failed:
                continue
            # The first query was counted by the caller.
            if index and not self._limiter.take(self._clock.steady()):
                break
            try:
                response = await exchange(
                    server, self._port, name, kind, self._timeout_s / len(self._tries)
                )
            except (OSError, EOFError, dns.exception.DNSException):
                self._limiter.note(answered=False)
                continue
            self._limiter.note(answered=True)
            answer = read_response(response, kind)
            if answer.outcome is not Outcome.FAILED:
                break
            failed.add(server)
        return answer

    @override
    def __repr__(self) -> str:
        return f"DnspythonResolver({', '.join(self._tries)}; port {self._port})"


def system_nameservers(path: str = "/etc/resolv.conf") -> list[str]:
    """Return the resolvers that this machine is set to use; reads a small file.

    Raises:
        dns.resolver.NoResolverConfiguration: the file is missing or names none.
    """
    resolver = dns.resolver.Resolver(path)
    return [str(server) for server in resolver.nameservers]


def read_response(response: dns.message.Message, kind: RdataType) -> Answer[Any]:
    """Return what ``response`` says about its question of type ``kind``.

    Total: what makes no sense is ``FAILED``. The time to live is as received.
    """
    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return _failed(f"the resolver said {dns.rcode.to_text(rcode)}")
    if not isinstance(response, dns.message.QueryMessage):
        return _failed("the resolver's answer makes no sense")
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException:
        return _failed("the resolver's answer makes no sense")
    ttl_s = float(chain.minimum_ttl)
    if rcode == dns.rcode.NXDOMAIN:
        return Answer(Outcome.NO_DOMAIN, (), ttl_s, "no such domain")
    if chain.answer is None:
        kinds = {rrset.rdtype for rrset in response.authority}
        if RdataType.NS in kinds and RdataType.SOA not in kinds:
            # A referral (RFC 2308 §2.2): this server does not recurse for us.
            return _failed("the resolver does not recurse")
        return Answer(Outcome.NO_DATA, (), ttl_s, "no such record")
    return Answer(Outcome.FOUND, _READERS[kind](chain.answer), ttl_s)


def _read_mx(rrset: dns.rrset.RRset) -> tuple[MxRecord, ...]:
    best: dict[str, int] = {}
    for rdata in rrset:
        record = cast("dns.rdtypes.ANY.MX.MX", rdata)
        target = record.exchange.to_text(omit_final_dot=True)
        if target == "." and len(rrset) == 1:
            return (MxRecord(record.preference, ""),)
        try:
            host = canonical_domain(target)
        except AddressError:
            continue  # an address literal, a single label, the root among others
        best[host] = min(record.preference, best.get(host, record.preference))
    records = (MxRecord(preference, host) for host, preference in best.items())
    ordered = sorted(records, key=lambda record: (record.preference, record.host))
    return tuple(ordered[:MAX_RECORDS])


def _read_addresses(rrset: dns.rrset.RRset) -> tuple[str, ...]:
    literals = (cast("dns.rdtypes.IN.A.A", rdata).address for rdata in rrset)
    return tuple(islice(literals, MAX_RECORDS))


def _read_txt(rrset: dns.rrset.RRset) -> tuple[bytes, ...]:
    texts = (b"".join(cast("dns.rdtypes.ANY.TXT.TXT", rd).strings) for rd in rrset)
    return tuple(islice(texts, MAX_RECORDS))


_READERS: Final = {
    RdataType.MX: _read_mx,
    RdataType.A: _read_addresses,
    RdataType.AAAA: _read_addresses,
    RdataType.TXT: _read_txt,
}


def _both_families(v4: AddressAnswer, v6: AddressAnswer) -> AddressAnswer:
    records = (v4.records + v6.records)[:MAX_RECORDS]
    ttl_s = min(v4.ttl_s, v6.ttl_s)
    if records:
        return Answer(Outcome.FOUND, records, ttl_s, v4.reason or v6.reason)
    for answer in (v4, v6):
        if answer.outcome is Outcome.FAILED:
            return answer
    return Answer(v6.outcome, (), ttl_s, v6.reason)


def _failed(reason: str) -> Answer[Any]:
    return Answer(Outcome.FAILED, (), FAILED_TTL_S, reason)
