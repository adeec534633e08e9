"""One DNS question to one server, and its answer.

dnspython reads the answers and speaks TCP; the question is a dozen octets and a
connected UDP socket, which costs half of what its general machinery does, and notices
at once that nobody listens. Every question has its own socket and id: a forger has to
guess both (RFC 5452 §9).

Standards: RFC 1035 §4.1 (messages), RFC 6891 (EDNS), RFC 7766 (TCP after truncation).
"""

import asyncio
import secrets
import struct
from typing import Final

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
from dns.rdatatype import RdataType
from typing_extensions import override

_PAYLOAD_OCTETS: Final = 1232  # what passes unfragmented (DNS flag day 2020)
_HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION: Final = struct.Struct("!HH")
_CLASS_IN: Final = 1
#: The pseudo-record that says how much we take: root, OPT, size, no flags, no options.
_OPT: Final = struct.pack("!BHHIH", 0, RdataType.OPT, _PAYLOAD_OCTETS, 0, 0)
#: These may come without the question (RFC 2136 §3.8; seen from many servers).
_BARE_ERRORS: Final = frozenset(
    (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)
)


async def exchange(
    server: str, port: int, name: str, kind: RdataType, timeout_s: float
) -> dns.message.Message:
    """Return the response of ``server`` (an address literal) about ``name``.

    Args:
        server: a recursive resolver.
        port: of it.
        name: lower-case A-labels without the final dot, checked.
        kind: of record.
        timeout_s: for UDP, and again for TCP when the answer is truncated.

    Raises:
        TimeoutError: no answer to our question came; forged ones do not count.
        OSError: nobody listens, no network.
        EOFError: TCP ended amid the answer.
        dns.exception.DNSException: the answer is no DNS message.
    """
    number = secrets.randbits(16)
    question = _encode(name) + _QUESTION.pack(kind, _CLASS_IN)
    header = _HEADER.pack(number, dns.flags.RD, 1, 0, 0, 1)
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    async with asyncio.timeout(timeout_s):
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Listener(number, question, answered), remote_addr=(server, port)
        )
        try:
            transport.sendto(header + question + _OPT)
            wire = await answered
        finally:
            transport.close()
    if not _flags_of(wire) & dns.flags.TC:
        return dns.message.from_wire(wire)
    query = dns.message.make_query(name, kind)
    return await dns.asyncquery.tcp(query, server, timeout_s, port)


class _Listener(asyncio.DatagramProtocol):
    """Waits for the answer to one question."""

    def __init__(
        self, number: int, question: bytes, answered: asyncio.Future[bytes]
    ) -> None:
        self._number = number
        self._question = question
        self._answered = answered

    @override
    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answered.done() and self._is_ours(data):
            self._answered.set_result(data)

    @override
    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)

    def _is_ours(self, data: bytes) -> bool:
        if len(data) < _HEADER.size:
            return False
        number, flags, questions = _HEADER.unpack_from(data)[:3]
        if number != self._number or not flags & dns.flags.QR:
            return False
        if questions == 0:
            return dns.rcode.from_flags(flags, 0) in _BARE_ERRORS
        end = _HEADER.size + len(self._question)
        return data[_HEADER.size : end].lower() == self._question


def _flags_of(wire: bytes) -> int:
    return int.from_bytes(wire[2:4], "big")


def _encode(name: str) -> bytes:
    labels = (label.encode("ascii") for label in name.split("."))
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
