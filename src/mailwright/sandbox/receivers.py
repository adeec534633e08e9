"""The receivers of the sandbox: small, strict and fast SMTP servers.

A receiver speaks for one MX host on an address of its own; what it answers comes from
:mod:`~mailwright.sandbox.behaviour`, how it talks is in
:mod:`~mailwright.sandbox.session`.
"""

import asyncio

from mailwright.sandbox.host import Host, Tally
from mailwright.sandbox.session import Session


class Receiver:
    """The listener of one MX host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._server: asyncio.Server | None = None

    @property
    def tally(self) -> Tally:
        """What happened here so far."""
        return self._host.tally

    async def listen(self, address: str, port: int) -> int:
        """Listen, and return the port; 0 takes a free one.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Session(self._host), address, port, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        for session in tuple(self._host.sessions):
            session.cut()
        await self._server.wait_closed()
        self._server = None
