"""The operator's socket: for root and the node's own user, on both event loops."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from fastapi import FastAPI, Request

from mailwright.api import peers
from mailwright.api.server import ApiServer, reachable

LOOPS = [asyncio.run, uvloop.run]
Run = Callable[[Coroutine[Any, Any, None]], None]


def app() -> FastAPI:
    made = FastAPI()

    @made.get("/who")
    async def get_who(request: Request) -> dict[str, str]:
        return {"who": "" if request.client is None else request.client.host}

    return made


async def ask(path: Path) -> str:
    with reachable(path) as name:
        transport = httpx.AsyncHTTPTransport(uds=name)
        async with httpx.AsyncClient(transport=transport, timeout=120) as client:
            return str((await client.get("http://node/who")).json()["who"])


async def served(path: Path, *, is_welcome: bool = True) -> None:
    server = ApiServer(app(), path=path)
    await server.open()
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())
        await server.wait_started()
        if is_welcome:
            assert await ask(path) == f"uid:{os.geteuid()}"
        else:
            with pytest.raises(httpx.TransportError):
                await ask(path)
        await server.stop()


@pytest.mark.parametrize("run", LOOPS)
def test_the_kernel_says_who_asks(tmp_path: Path, run: Run) -> None:
    run(served(tmp_path / "operator.sock"))


@pytest.mark.parametrize("run", LOOPS)
def test_another_user_is_cut_off_unheard(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "peer_uid", lambda _transport: os.geteuid() + 1)
    run(served(tmp_path / "operator.sock", is_welcome=False))


@pytest.mark.parametrize("run", LOOPS)
def test_a_peer_of_whom_nothing_is_known_is_cut_off(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "peer_uid", lambda _transport: None)
    run(served(tmp_path / "operator.sock", is_welcome=False))


@pytest.mark.parametrize("run", LOOPS)
def test_a_folder_with_a_long_path_has_its_socket_too(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    run(served(folder / "operator.sock"))
    assert (folder / "operator.sock").is_socket()


def test_what_is_no_unix_socket_has_no_user() -> None:
    async def test() -> None:
        uids = []

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                uids.append(peers.peer_uid(transport))
                transport.close()

        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(*address)
        while not uids:
            await asyncio.sleep(0.001)
        writer.close()
        server.close()
        # TCP has no user; the kernel says so with an impossible one.
        assert uids[0] not in (0, os.geteuid())

    asyncio.run(test())
