"""Serving the API: uvicorn inside the node's own event loop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI
from typing_extensions import override

from mailwright.api.pacing import PacedProtocol
from mailwright.api.peers import PeerProtocol
from mailwright.api.sockets import reachable

_KEEP_ALIVE_S: Final = 30
_BACKLOG: Final = 1024
#: For requests under way when the server is cancelled, not stopped.
_CUT_S: Final = 1.0
#: Connections at once; more are told 503 at once.
_MAX_CONNECTIONS: Final = 1000


class ApiServer:
    """One listener of the API, on a host and port or on a Unix socket.

    :meth:`open` binds, so that an address that cannot be had is known before anything
    else starts; :meth:`run` serves until :meth:`stop`.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str = "",
        port: int = 0,
        *,
        path: Path | None = None,
        drain_s: int = 10,
    ) -> None:
        """Serve ``app`` on ``host`` and ``port`` (0: any), or on the socket ``path``.

        The socket is for root and our own user; see ``peers.py``.

        Requests in progress get ``drain_s`` seconds to end when it stops.
        """
        config = uvicorn.Config(
            app,
            http=PacedProtocol if path is None else PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # what a client says of its own address is no fact
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s,
            limit_concurrency=_MAX_CONNECTIONS,
        )
        self._server = _Server(config)
        self._host = host
        self._port = port
        self._path = path
        self._sockets: list[socket.socket] = []
        self._is_ended = asyncio.Event()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, once open; empty for a Unix socket."""
        if self._path is not None:
            return []
        return [listening.getsockname()[:2] for listening in self._sockets]

    async def open(self) -> None:
        """Bind and listen; requests are taken when :meth:`run` has begun.

        Raises:
            OSError: the address cannot be had.
        """
        if self._path is not None:
            self._sockets.append(_unix_socket(self._path))
            return
        infos = await asyncio.get_running_loop().getaddrinfo(
            self._host or None,
            self._port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        try:
            for family, _, _, _, address in infos:
                listening = socket.create_server(
                    (str(address[0]), int(address[1])), family=family, backlog=_BACKLOG
                )
                listening.setblocking(False)
                self._sockets.append(listening)
        except OSError:
            self._close_sockets()
            raise

    async def run(self) -> None:
        """Serve until :meth:`stop`, then let requests in progress end.

        Raises:
            OSError: it was not open, and the address cannot be had.
        """
        if not self._sockets:
            await self.open()
        try:
            await self._server.serve(sockets=self._sockets)
        except asyncio.CancelledError:
            # The node ends itself: requests under way hear what became of them.
            if self._server.is_up.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CUT_S):
                        await self._server.shutdown(self._sockets)
            raise
        finally:
            self._close_sockets()
            self._is_ended.set()

    async def wait_started(self) -> None:
        """Return when requests are answered."""
        await self._server.is_up.wait()

    async def stop(self) -> None:
        """Take no more requests; return when those in progress have ended."""
        self._server.should_exit = True
        if self._server.is_up.is_set():
            await self._is_ended.wait()
        self._close_sockets()

    def _close_sockets(self) -> None:
        while self._sockets:
            self._sockets.pop().close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the node and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _unix_socket(path: Path) -> socket.socket:
    """Return a listening socket that only our own user may connect to.

    One that a dead node left behind is replaced; that no living one uses it is known by
    the node's lock.
    """
    if path.is_socket():
        path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    # The mode has to be right from the first moment on, not after a chmod.
    mask = os.umask(0o177)
    try:
        with reachable(path) as name:
            listening.bind(name)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
    listening.setblocking(False)
    return listening
