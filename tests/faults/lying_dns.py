"""A name server that answers what it is told to, octet by octet if need be.

Each name has a :data:`Lie`: from the question to the datagrams that are sent back. What
has none does not exist. It answers over TCP as well, by the same lies.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from typing_extensions import override

#: Makes the datagrams that answer a query; over TCP the first of them is the answer.
Lie = Callable[[dns.message.Message, bool], Sequence[bytes]]


def records(*texts: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Lie:
    """Answer with those of ``NAME TTL TYPE DATA`` that belong to the question.

    A CNAME belongs to every question; what stands behind ``!`` too.
    """

    def lie(query: dns.message.Message, _is_tcp: bool) -> Sequence[bytes]:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        response.set_rcode(rcode)
        kind = query.question[0].rdtype.name
        for text in texts:
            name, ttl, each, data = text.removeprefix("!").split(" ", 3)
            if text.startswith("!") or each in {kind, "CNAME"}:
                found = dns.rrset.from_text(f"{name}.", int(ttl), "IN", each, data)
                response.answer.append(found)
        return [response.to_wire(max_size=65_535)]

    return lie


def only(kind: str, lie: Lie) -> Lie:
    """Answer questions of ``kind`` with ``lie``, and others with no records."""

    def asked(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        is_it = query.question[0].rdtype.name == kind
        return (lie if is_it else records())(query, is_tcp)

    return asked


def octets(*packets: bytes) -> Lie:
    """Answer with these, behind the id of the query."""

    def lie(query: dns.message.Message, _is_tcp: bool) -> Sequence[bytes]:
        return [struct.pack("!H", query.id) + packet for packet in packets]

    return lie


def forged(
    lie: Lie, change: Callable[[bytes], bytes], *, then: Lie | None = None
) -> Lie:
    """Answer as ``lie`` does, changed; then, maybe, with the truth."""

    def changed(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        wrong = [change(packet) for packet in lie(query, is_tcp)]
        return [*wrong * 20, *(then(query, is_tcp) if then else ())]

    return changed


def truncated(whole: Lie) -> Lie:
    """Say over UDP that it does not fit; over TCP, ``whole``."""

    def lie(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        if is_tcp:
            return whole(query, is_tcp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return [response.to_wire()]

    return lie


def in_turn(*lies: Lie) -> Lie:
    """Answer the n-th question with the n-th, then with the last."""
    asked = iter(range(1 << 30))

    def lie(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        return lies[min(next(asked), len(lies) - 1)](query, is_tcp)

    return lie


class LyingDns(asyncio.DatagramProtocol):
    """Serves on a port of 127.0.0.1. Use as ``async with``.

    Attributes:
        address: where it listens.
        asked: how many questions came.
    """

    def __init__(self, lies: Mapping[str, Lie]) -> None:
        self.address = ("127.0.0.1", 0)
        self.asked = 0
        self._lies = lies
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.address = self._server.sockets[0].getsockname()[:2]
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=self.address
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._transport is not None
        self._transport.close()
        self._server.close()
        await self._server.wait_closed()

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        for packet in self._answers(data, is_tcp=False):
            self._transport.sendto(packet, addr)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            data = await reader.readexactly(length)
            for packet in self._answers(data, is_tcp=True)[:1]:
                writer.write(struct.pack("!H", len(packet)) + packet)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answers(self, data: bytes, *, is_tcp: bool) -> Sequence[bytes]:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return []
        self.asked += 1
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        nothing = records(rcode=dns.rcode.NXDOMAIN)
        return self._lies.get(name, nothing)(query, is_tcp)
