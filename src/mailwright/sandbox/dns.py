"""The DNS of the sandbox: one server for every name, on UDP and TCP.

It answers like a recursive resolver (CNAMEs followed) from records that can change at
any time; a name that nobody put there does not exist. Faults are per name, so that one
domain can time out while the others are well.

Standards: RFC 1035, RFC 2308 §5 (SOA with negative answers), RFC 7766 (TCP framing).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Final, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from typing_extensions import override

NEGATIVE_TTL_S: Final = 60
_MAX_CNAMES: Final = 16
_CLASSIC_OCTETS: Final = 512  # RFC 1035 §4.2.1: without EDNS
_TRIES: Final = 20  # for a port that is free on UDP and on TCP


class Fault(Enum):
    """How the server fails to answer about a name."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    SILENCE = "silence"  # the question times out
    GARBAGE = "garbage"  # octets that are no message
    TRUNCATED = "truncated"  # UDP says truncated, TCP answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What a name has.

    Attributes:
        mx: (preference, host); ``NULL_MX`` is ``((0, "."),)``.
        addresses: IPv4 and IPv6 literals.
        texts: the TXT records, of any length.
        cname: then nothing else counts.
        ttl_s: of all of them.
        fault: then the records are not told.
    """

    mx: tuple[tuple[int, str], ...] = ()
    addresses: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    cname: str = ""
    ttl_s: int = 60
    fault: Fault | None = None


NULL_MX: Final = Records(mx=((0, "."),))


class SandboxDns:
    """The server. Use as ``async with SandboxDns(records) as server``.

    Attributes:
        queries: how often each (type, name) was asked.
        tcp_queries: how many of them came over TCP.
    """

    def __init__(self, records: Mapping[str, Records] | None = None) -> None:
        self._records: dict[str, Records] = {}
        self.queries: Counter[tuple[str, str]] = Counter()
        self.tcp_queries = 0
        self._address: tuple[str, int] | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        for name, known in (records or {}).items():
            self.put(name, known)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port.

        Raises:
            RuntimeError: it does not listen.
        """
        if self._address is None:
            raise RuntimeError("the name server is not started")
        return self._address

    def put(self, name: str, records: Records) -> None:
        """Let ``name`` have these records and no others, from the next query on."""
        self._records[_key(name)] = records

    def put_text(self, name: str, text: str) -> None:
        """Let ``name`` have this TXT record and no other; the rest of it stays."""
        known = self._records.get(_key(name), Records())
        self.put(name, replace(known, texts=(text,)))

    def remove(self, name: str) -> None:
        """Let ``name`` not exist."""
        self._records.pop(_key(name), None)

    def texts(self) -> dict[str, str]:
        """Return the first TXT record of every name that has one, without a query."""
        return {
            name: records.texts[0]
            for name, records in self._records.items()
            if records.texts
        }

    def answer(self, wire: bytes, *, over_tcp: bool = False) -> bytes | None:
        """Return the octets to answer ``wire`` with; ``None``: stay silent."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if len(query.question) != 1 or query.flags & dns.flags.QR:
            return None
        question = query.question[0]
        name = _key(question.name.to_text())
        kind = dns.rdatatype.to_text(question.rdtype)
        self.queries[kind, name] += 1
        self.tcp_queries += over_tcp
        response = dns.message.make_response(query, recursion_available=True)
        match self._fault_of(name):
            case Fault.SILENCE:
                return None
            case Fault.GARBAGE:
                return wire[:2] + b"\x81\x80 not a message"
            case Fault.SERVFAIL:
                response.set_rcode(dns.rcode.SERVFAIL)
            case Fault.REFUSED:
                response.set_rcode(dns.rcode.REFUSED)
            case Fault.TRUNCATED if not over_tcp:
                response.flags |= dns.flags.TC
            case _:
                self._fill(response, name, kind)
        room = 65_535 if over_tcp else max(query.payload, _CLASSIC_OCTETS)
        return response.to_wire(max_size=room, prefer_truncation=True)

    def _fault_of(self, name: str) -> Fault | None:
        records = self._records.get(name)
        return None if records is None else records.fault

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        records = self._records.get(name)
        for _ in range(_MAX_CNAMES + 1):
            if records is None or not records.cname:
                break
            response.answer.append(
                _rrset(name, records.ttl_s, "CNAME", _absolute(records.cname))
            )
            name = _key(records.cname)
            records = self._records.get(name)
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif texts := _texts_of(records, kind):
            response.answer.append(_rrset(name, records.ttl_s, kind, *texts))
            return
        soa = f". hostmaster. 1 3600 600 86400 {NEGATIVE_TTL_S}"
        response.authority.append(_rrset("", NEGATIVE_TTL_S, "SOA", soa))

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on ``host``; port 0 takes one that is free on UDP and TCP.

        Raises:
            OSError: there is no such port.
        """
        loop = asyncio.get_running_loop()
        for tries_left in reversed(range(1 if port else _TRIES)):
            udp, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(host, port)
            )
            bound: tuple[str, int] = udp.get_extra_info("sockname")[:2]
            try:
                self._tcp = await loop.create_server(
                    lambda: _Stream(self), host, bound[1]
                )
            except OSError:
                udp.close()
                if not tries_left:
                    raise
                continue
            self._udp = udp
            self._address = bound
            return

    async def close(self) -> None:
        """Stop listening; questions on their way stay unanswered."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()
        self._udp = self._tcp = self._address = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: SandboxDns) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        answer = self._server.answer(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


class _Stream(asyncio.Protocol):
    """One TCP connection: messages with their length in front (RFC 7766 §8)."""

    def __init__(self, server: SandboxDns) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                return
            answer = self._server.answer(bytes(self._buffer[2:end]), over_tcp=True)
            del self._buffer[:end]
            if answer is not None and self._transport is not None:
                self._transport.write(len(answer).to_bytes(2, "big") + answer)


def _key(name: str) -> str:
    return name.lower().removesuffix(".")


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


def _rrset(name: str, ttl_s: int, kind: str, *texts: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(_absolute(name), ttl_s, "IN", kind, *texts)


def _texts_of(records: Records, kind: str) -> list[str]:
    """Return the records of type ``kind`` as a zone file spells them."""
    match kind:
        case "MX":
            return [f"{number} {_absolute(host)}" for number, host in records.mx]
        case "A":
            return [literal for literal in records.addresses if ":" not in literal]
        case "AAAA":
            return [literal for literal in records.addresses if ":" in literal]
        case "TXT":
            return [_quoted(text) for text in records.texts]
        case _:
            return []


def _quoted(text: str) -> str:
    """Return ``text`` as character-strings of at most 255 octets (RFC 1035 §3.3)."""
    escaped = [
        chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\{octet:03}"
        for octet in text.encode()
    ]
    parts = ["".join(escaped[at : at + 255]) for at in range(0, len(escaped), 255)]
    return " ".join(f'"{part}"' for part in parts or [""])
