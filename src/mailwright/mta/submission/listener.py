"""A listening SMTP door: opens, serves, and closes without cutting anything short.

Connections are counted in before anything is spent on them, TLS least of all.
"""

import asyncio
import dataclasses
import logging
import socket
from typing import Final

from mailwright.mta.submission import answers
from mailwright.mta.submission.conversation import Conversation
from mailwright.mta.submission.door import Door, DoorCounts, DoorPorts, peer_ip
from mailwright.mta.submission.ports import PeerIp
from mailwright.mta.submission.server import SubmissionSession
from mailwright.mta.submission.settings import DoorSettings

_logger = logging.getLogger(__name__)

# Taken at one wake-up; the sessions that are open come in between.
_ACCEPTS_PER_TURN: Final = 64
# When the system has no file descriptor left, trying at once would only burn the CPU.
_ACCEPT_PAUSE_S: Final = 1.0


class Listener:
    """One address to submit to.

    :meth:`open` binds, :meth:`run` serves until :meth:`close`; the task that runs it owns
    every session. Clients that connect between the two wait in the system's backlog.
    """

    def __init__(self, settings: DoorSettings, ports: DoorPorts) -> None:
        self._door = Door(settings, ports)
        self._sockets: list[socket.socket] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._conversations: set[Conversation] = set()
        self._within_s = 0.0
        self._is_closing = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._is_empty = asyncio.Event()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, once open."""
        return [listening.getsockname()[:2] for listening in self._sockets]

    @property
    def open_connections(self) -> int:
        """Sessions that have not ended."""
        return self._door.open_connections

    def apply(self, settings: DoorSettings) -> None:
        """Take over new limits and certificates; address, port and TLS mode stay.

        They act on sessions that begin from now on.
        """
        self._door.settings = settings

    def statistics(self) -> DoorCounts:
        """Return a snapshot of what was seen so far."""
        return dataclasses.replace(self._door.counts)

    async def open(self) -> None:
        """Bind the address and listen; connections are taken when :meth:`run` has begun.

        Raises:
            OSError: it cannot be had.
        """
        settings = self._door.settings
        infos = await asyncio.get_running_loop().getaddrinfo(
            settings.host or None,
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        try:
            for family, _, _, _, address in infos:
                listening = socket.create_server(
                    (str(address[0]), int(address[1])),
                    family=family,
                    backlog=settings.backlog,
                )
                listening.setblocking(False)
                self._sockets.append(listening)
        except OSError:
            self._close_sockets()
            raise

    async def run(self) -> None:
        """Serve until :meth:`close` is called, which may be before.

        Raises:
            RuntimeError: it is not open.
        """
        if self._is_closing.is_set():
            return
        if not self._sockets:
            raise RuntimeError("the listener is not open")
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for listening in self._sockets:
                    self._accept_on(listening)
                try:
                    await self._is_closing.wait()
                finally:
                    # Also when cancelled: nobody may come while sessions are cut.
                    self._close_sockets()
                await self._finish()
        finally:
            self._close_sockets()
            self._is_closed.set()

    async def close(self, *, within_s: float) -> None:
        """Stop accepting and return when every session has ended.

        Idle sessions are told 421 at once; others may finish their transaction within
        ``within_s`` seconds, then they are cut. A commit that has begun is never undone.
        """
        self._within_s = within_s
        self._is_closing.set()
        if self._tasks is None:
            self._close_sockets()
            return
        await self._is_closed.wait()

    def _accept_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _logger.warning("cannot accept SMTP connections for now: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_ACCEPT_PAUSE_S, self._accept_on, listening)
                return
            self._take(connection, peer_ip(address))

    def _take(self, connection: socket.socket, peer: PeerIp | None) -> None:
        connection.setblocking(False)
        if peer is None or self._tasks is None or not self._door.enter(peer):
            self._refuse(connection)
            return
        task = self._tasks.create_task(
            self._serve(connection, peer), name="smtp session"
        )
        self._sessions.add(task)
        task.add_done_callback(self._ended)

    def _refuse(self, connection: socket.socket) -> None:
        with connection:
            # Before implicit TLS there is no way to say it.
            if not self._door.settings.is_implicit_tls:
                try:
                    connection.send(answers.BUSY)
                except OSError:
                    return

    async def _serve(self, connection: socket.socket, peer: PeerIp) -> None:
        try:
            session = SubmissionSession(self._door, peer)
            if await self._connect(connection, session):
                await self._converse(session.conversation)
        except Exception:
            _logger.exception("an SMTP session broke")
        finally:
            self._door.leave(peer)

    async def _connect(
        self, connection: socket.socket, session: SubmissionSession
    ) -> bool:
        settings = self._door.settings
        is_tls = settings.is_implicit_tls
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session,
                connection,
                ssl=settings.tls if is_tls else None,
                ssl_handshake_timeout=settings.tls_timeout_s if is_tls else None,
            )
        except OSError:
            # It has gone, or no TLS came about.
            connection.close()
            return False
        return True

    async def _converse(self, conversation: Conversation) -> None:
        self._conversations.add(conversation)
        if self._is_closing.is_set():
            conversation.stop()
        try:
            await conversation.run()
        finally:
            self._conversations.discard(conversation)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sessions.discard(task)
        if not self._sessions:
            self._is_empty.set()

    def _close_sockets(self) -> None:
        if self._tasks is not None:
            loop = asyncio.get_running_loop()
            for listening in self._sockets:
                loop.remove_reader(listening)
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()

    async def _finish(self) -> None:
        if not self._sessions:
            return
        self._is_empty.clear()
        for conversation in list(self._conversations):
            conversation.stop()
        try:
            async with asyncio.timeout(self._within_s):
                await self._is_empty.wait()
        except TimeoutError:
            _logger.warning("cut %d SMTP sessions short", len(self._sessions))
            for task in list(self._sessions):
                task.cancel()
