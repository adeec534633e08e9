"""Only an answer to our question counts; what else arrives is a forgery."""

import asyncio
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.rdatatype import RdataType
from typing_extensions import override

from mailwright.dns_exchange import exchange

NAME = "mx.example.com"


class Server(asyncio.DatagramProtocol):
    """Answers every query with what ``script`` makes of it, in order."""

    def __init__(self, script: Callable[[dns.message.Message], list[bytes]]) -> None:
        self.script = script
        self.queries: list[dns.message.Message] = []
        self.transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # type: ignore[override]
        assert self.transport is not None
        query = dns.message.from_wire(data)
        self.queries.append(query)
        for answer in self.script(query):
            self.transport.sendto(answer, addr)


def ask(
    script: Callable[[dns.message.Message], list[bytes]], timeout_s: float = 5
) -> tuple[dns.message.Message, dns.message.Message]:
    """Return the query that a server got, and the response that came out."""

    async def run() -> tuple[dns.message.Message, dns.message.Message]:
        server = Server(script)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: server, local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        try:
            response = await exchange("127.0.0.1", port, NAME, RdataType.A, timeout_s)
        finally:
            transport.close()
        return server.queries[0], response

    return asyncio.run(run())


def respond(
    query: dns.message.Message,
    address: str = "192.0.2.1",
    *,
    change_id: int = 0,
    name: str = NAME,
) -> bytes:
    twin = dns.message.make_query(name, RdataType.A)
    twin.id = query.id ^ change_id
    response = dns.message.make_response(twin)
    response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", address))
    return response.to_wire()


def address_of(response: dns.message.Message) -> str:
    return str(response.answer[0][0])


def test_the_question_asks_a_recursive_resolver_and_says_how_much_it_takes() -> None:
    query, _ = ask(lambda query: [respond(query)])
    assert query.question[0].to_text() == f"{NAME}. IN A"
    assert query.flags == dns.flags.RD
    assert (query.edns, query.payload) == (0, 1232)


def test_ids_are_not_predictable() -> None:
    ids = {ask(lambda query: [respond(query)])[0].id for _ in range(8)}
    assert len(ids) > 4


@pytest.mark.parametrize(
    "forged",
    [
        lambda query: respond(query, "203.0.113.9", change_id=1),
        lambda query: respond(query, "203.0.113.9", name="other.example.com"),
        lambda query: query.to_wire(),
        lambda query: query.id.to_bytes(2, "big") + b"\x81\x80 garbage",
        lambda query: b"",
        lambda query: b"\0",
    ],
)
def test_what_is_no_answer_to_our_question_is_passed_over(
    forged: Callable[[dns.message.Message], bytes],
) -> None:
    _, response = ask(lambda query: [forged(query), respond(query)])
    assert address_of(response) == "192.0.2.1"


def test_an_answer_may_spell_the_name_in_capitals() -> None:
    _, response = ask(lambda query: [respond(query, name=NAME.upper())])
    assert address_of(response) == "192.0.2.1"


def test_an_error_without_its_question_counts() -> None:
    def script(query: dns.message.Message) -> list[bytes]:
        return [query.id.to_bytes(2, "big") + b"\x80\x05" + bytes(8)]

    _, response = ask(script)
    assert response.rcode() == dns.rcode.REFUSED


def test_silence_ends_in_time() -> None:
    with pytest.raises(TimeoutError):
        ask(lambda query: [], timeout_s=0.02)


def test_a_server_that_is_not_there_is_noticed_at_once() -> None:
    async def run() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        transport.close()
        await asyncio.sleep(0)
        async with asyncio.timeout(120):
            await exchange("127.0.0.1", port, NAME, RdataType.A, 60)

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(run())
