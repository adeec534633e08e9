"""One client's octets are handed on a few at a time, all of them, in order."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailwright.api import server as server_module
from mailwright.api.pacing import PacedProtocol
from mailwright.api.server import ApiServer

CHUNKS = 10_000
HEAD = b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = HEAD + b"2\r\nab\r\n" * CHUNKS + b"0\r\n\r\n"


def drive(test: Callable[[str, int], Awaitable[None]]) -> None:
    app = FastAPI()

    @app.post("/count")
    async def count(request: Request) -> dict[str, int]:
        return {"pairs": (await request.body()).count(b"ab")}

    async def run() -> None:
        server = ApiServer(app, "127.0.0.1", 0, drain_s=5)
        await server.open()
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run())
            await server.wait_started()
            [(host, port)] = server.addresses
            await test(host, port)
            await server.stop()

    asyncio.run(run())


async def answer_to(host: str, port: int, request: bytes, answers: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    said = b""
    while said.count(b"}") < answers:
        more = await reader.read(65_536)
        assert more, said
        said += more
    writer.close()
    return said


def test_a_body_of_tiny_chunks_arrives_whole_and_so_does_what_follows_it() -> None:
    async def test(host: str, port: int) -> None:
        said = await answer_to(host, port, REQUEST * 3, 3)
        assert said.count(b'{"pairs":%d}' % CHUNKS) == 3

    drive(test)


@pytest.mark.parametrize("protocol", [PacedProtocol, H11Protocol])
def test_others_have_their_turn_while_one_body_is_read(
    protocol: type[H11Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[int] = []

    class Counting(protocol):  # type: ignore[misc, valid-type]
        def handle_events(self) -> None:
            before = self.cycle.body.count(b"a") if self.cycle else 0
            super().handle_events()
            chunks.append(self.cycle.body.count(b"a") - before)

    monkeypatch.setattr(server_module, "PacedProtocol", Counting)

    async def test(host: str, port: int) -> None:
        assert b"200 OK" in await answer_to(host, port, REQUEST, 1)

    drive(test)
    # 4 096 octets are not quite 600 chunks. Control: uvicorn's own takes far more.
    assert (max(chunks) <= 600) == (protocol is PacedProtocol)


def test_what_is_no_heap_of_chunks_goes_in_large_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces: list[int] = []

    class Counting(PacedProtocol):
        def handle_events(self) -> None:
            before = len(self.cycle.body) if self.cycle else 0
            super().handle_events()
            pieces.append(len(self.cycle.body) - before)

    monkeypatch.setattr(server_module, "PacedProtocol", Counting)
    chunk = b"ab" * 10_000

    async def test(host: str, port: int) -> None:
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for _ in range(20))
        said = await answer_to(host, port, HEAD + body + b"0\r\n\r\n", 1)
        assert b'{"pairs":200000}' in said

    drive(test)
    assert max(pieces) > 10_000


def test_a_connection_that_is_gone_gets_nothing_more() -> None:
    async def test(host: str, port: int) -> None:
        for cut in (len(HEAD), 5_000, 20_000):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(REQUEST[:cut])
            await writer.drain()
            writer.transport.abort()
        said = await answer_to(host, port, REQUEST, 1)
        assert b"200 OK" in said

    drive(test)
