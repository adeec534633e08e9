"""The server inside the node's loop: binds, serves, leaves signals alone, stops."""

import asyncio
import signal
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from mailwright.api.server import ApiServer


def app_with(reached: asyncio.Event, gate: asyncio.Event) -> FastAPI:
    app = FastAPI()

    @app.get("/now")
    async def get_now() -> dict[str, str]:
        return {"said": "now"}

    @app.get("/late")
    async def get_late() -> dict[str, str]:
        reached.set()
        await gate.wait()
        return {"said": "late"}

    return app


def drive(
    test: Callable[[ApiServer, asyncio.Event, asyncio.Event], Awaitable[None]],
    path: Path | None = None,
) -> None:
    async def run() -> None:
        reached, gate = asyncio.Event(), asyncio.Event()
        app = app_with(reached, gate)
        server = ApiServer(app, "127.0.0.1", 0, path=path, drain_s=5)
        await server.open()
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run())
            await server.wait_started()
            await test(server, reached, gate)
            await server.stop()

    asyncio.run(run())


def test_it_serves_on_the_port_it_was_given_and_stops() -> None:
    async def test(server: ApiServer, *_: asyncio.Event) -> None:
        [(host, port)] = server.addresses
        assert port > 0
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}", timeout=120
        ) as client:
            response = await client.get("/now")
            assert response.json() == {"said": "now"}
            assert "server" not in response.headers
            await server.stop()
            with pytest.raises(httpx.ConnectError):
                await httpx.AsyncClient().get(f"http://{host}:{port}/now")

    drive(test)


def test_it_leaves_signals_to_the_node() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    async def test(*_: object) -> None:
        during = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
        # asyncio.run has its own for SIGINT.
        assert during[0] == before[0]
        assert getattr(during[1], "__module__", "") != "uvicorn.server"

    drive(test)


def test_a_request_in_progress_ends_before_it_stops() -> None:
    async def test(
        server: ApiServer, reached: asyncio.Event, gate: asyncio.Event
    ) -> None:
        [(host, port)] = server.addresses
        async with (
            httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=120) as client,
            asyncio.TaskGroup() as tasks,
        ):
            late = tasks.create_task(client.get("/late"))
            await reached.wait()
            stopping = tasks.create_task(server.stop())
            gate.set()
            assert (await late).json() == {"said": "late"}
            await stopping

    drive(test)


def test_a_unix_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def test(server: ApiServer, *_: asyncio.Event) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert server.addresses == []
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, timeout=120) as client:
            response = await client.get("http://node/now")
            assert response.json() == {"said": "now"}

    drive(test, path)
    # What it left behind does not keep the next start from binding.
    assert path.is_socket()
    drive(test, path)


def test_an_address_that_is_taken_is_known_when_opening() -> None:
    async def test(server: ApiServer, *_: asyncio.Event) -> None:
        [(host, port)] = server.addresses
        with pytest.raises(OSError, match="in use"):
            await ApiServer(FastAPI(), host, port).open()

    drive(test)


def test_a_request_under_way_is_answered_when_the_node_ends_itself() -> None:
    async def main() -> None:
        reached, gate = asyncio.Event(), asyncio.Event()
        server = ApiServer(app_with(reached, gate), "127.0.0.1", 0, drain_s=5)
        await server.open()
        [(host, port)] = server.addresses
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.run())
            await server.wait_started()
            async with httpx.AsyncClient(
                base_url=f"http://{host}:{port}", timeout=120
            ) as client:
                asking = tasks.create_task(client.get("/late"))
                await reached.wait()
                serving.cancel()
                gate.set()
                assert (await asking).json() == {"said": "late"}
        assert serving.cancelled()

    asyncio.run(main())
