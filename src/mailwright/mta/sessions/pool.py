"""Processes that lead sessions: starts them, spreads sessions, replaces the dead.

One socket each. Without a process mail waits for one: that is nothing that a receiver could
be blamed for. A process that dies takes its connections with it, and nobody knows what
arrived of what it had in hand: that is tried again later, marked as a possible duplicate.
Another process takes its place.
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from mailwright.mta.sessions.given import Keys
from mailwright.mta.sessions.remote import RemoteSession, SessionProcess
from mailwright.mta.sessions.session import Call, OnAttempt, TlsFailed
from mailwright.reply import Phase, Reply, local_reply

logger = logging.getLogger(__name__)

#: What is handed over in one turn mostly fits; beyond it the loop waits, not the kernel.
_SOCKET_OCTETS: Final = 1 << 20
#: How soon a process that died is replaced; one that dies young, later and later.
RESTART_S: Final = 0.1
RESTART_MAX_S: Final = 30.0
#: One that lived for so long was well.
WELL_S: Final = 60.0
#: Processes that may die under the opening of one session.
OPEN_TRIES: Final = 3
#: How often a process is asked whether it is alive, and how many may go unanswered.
PING_S: Final = 10.0
PINGS_MAX: Final = 6
#: For a process to end once its socket is closed.
_END_S: Final = 5.0
_ABSENT: Final = local_reply(
    451, "4.3.0", "no process could lead the session", Phase.CONNECT
)


class SessionProcesses:
    """Implements :class:`~mailwright.mta.sessions.session.Sessions` with processes.

    Nothing runs until :meth:`run` does; what is asked before waits for it.
    """

    def __init__(
        self,
        keys: Keys,
        count: int,
        *,
        command: Sequence[str] = (
            sys.executable,
            "-P",  # no module of the folder that the node was started in
            "-m",
            "mailwright.mta.sessions.process",
        ),
    ) -> None:
        """``command`` gets the number of its socket as its last argument."""
        self._keys = keys
        self._count = count
        self._command = tuple(command)
        self._processes: list[SessionProcess] = []
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        #: How often a process died.
        self.deaths = 0

    async def open(
        self, call: Call, on_attempt: OnAttempt
    ) -> RemoteSession | Reply | TlsFailed:
        """Return a session in the process that leads fewest, or why there is none."""
        for _ in range(OPEN_TRIES):
            process = self._least_busy() or await self._wait_for_one()
            if process is None:
                break
            opened = await process.open(call, on_attempt)
            if opened is not None:
                return opened
        return _ABSENT

    async def run(self) -> None:
        """Keep the processes alive until :meth:`stop`; they are gone on return."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._count):
                    tasks.create_task(self._keep(), name=f"session process {number}")
        finally:
            self._stopping.set()
            self._changed.set()

    def stop(self) -> None:
        """End the processes; call it when no session is open any more."""
        self._stopping.set()
        for process in self._processes:
            process.close()
        self._changed.set()

    async def _keep(self) -> None:
        rest_s = RESTART_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_at = loop.time()
            await self._run_one()
            if self._stopping.is_set():
                return
            self.deaths += 1
            if loop.time() - began_at > WELL_S:
                rest_s = RESTART_S
            logger.error(
                "a process of sessions ended; another starts in %.1f s", rest_s
            )
            # What died at once would die at once again.
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._stopping.wait()
            rest_s = min(rest_s * 2, RESTART_MAX_S)

    async def _run_one(self) -> None:
        """Run one process until it ends."""
        ours, its = socket.socketpair()
        with its:
            for each in (ours, its):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_OCTETS)
            try:
                process = await asyncio.to_thread(self._start, its.fileno())
            except OSError as error:
                ours.close()
                # The reason is all there is to say; the traceback is this line.
                logger.error(  # noqa: TRY400
                    "a process of sessions cannot be started: %s", error
                )
                return
        led = SessionProcess(self._keys)
        try:
            await asyncio.get_running_loop().create_unix_connection(
                lambda: led, sock=ours
            )
            self._processes.append(led)
            self._changed.set()
            if self._stopping.is_set():
                led.close()
            await _watch(led, process)
        finally:
            if led in self._processes:
                self._processes.remove(led)
            led.close()
            await asyncio.shield(asyncio.to_thread(_wait_end, process))

    def _start(self, descriptor: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [*self._command, str(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
        )

    def _least_busy(self) -> SessionProcess | None:
        alive = (each for each in self._processes if not each.lost.done())
        return min(alive, key=lambda each: each.load, default=None)

    async def _wait_for_one(self) -> SessionProcess | None:
        """Return a process; ``None`` when they are to end."""
        while (process := self._least_busy()) is None:
            if self._stopping.is_set():
                return None
            self._changed.clear()
            await self._changed.wait()
        return process


async def _watch(led: SessionProcess, process: "subprocess.Popen[bytes]") -> None:
    """Return when ``process`` is gone; kill it when it does not answer any more.

    It is asked anew each time, so that a node that was stopped itself blames nobody.
    """
    while not led.lost.done():
        await asyncio.wait((led.lost,), timeout=PING_S)
        if led.unanswered >= PINGS_MAX:
            logger.error(
                "a process of sessions has not answered for %.0f s and is killed",
                PING_S * PINGS_MAX,
            )
            process.kill()
            await led.lost
        else:
            led.ping()


def _wait_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process whose socket is closed; kill it if it does not go."""
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
