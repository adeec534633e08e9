"""Telling systemd how the node is: ready, reloading, stopping, alive.

One datagram each to the socket that the service manager names; nothing is said when it
names none. Source: sd_notify(3), systemd.service(5).
"""

import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from mailwright.store.ports import StoreError, StoreFailedError, UnitStore
from mailwright.store.statements import Unit

logger = logging.getLogger(__name__)

#: Signs of life for each time that the service manager waits for one.
_SIGNS_PER_TIMEOUT: Final = 3
_STATUS_MAX: Final = 500


class Notifier:
    """Says one thing at a time to the service manager; never raises, never blocks.

    Args:
        address: a path, or ``@`` and a name in the abstract namespace; ``""``: there is
            nobody to tell.
        watchdog_s: how long the manager waits for a sign of life; 0: it does not.
    """

    def __init__(self, address: str = "", *, watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        self._socket: socket.socket | None = None
        self._is_quiet = False  # that it cannot be told is told once
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, pid: int) -> "Notifier":
        """Return what talks to the manager that started the process ``pid``, if one did.

        A watchdog that is set for another process is not ours.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):  # vsock: of virtual machines
            address = ""
        watchdog_us = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = (
            address and is_ours and watchdog_us.isascii() and watchdog_us.isdigit()
        )
        return cls(address, watchdog_s=int(watchdog_us) / 1e6 if watched else 0.0)

    def ready(self, status: str) -> None:
        """The start, or a reload, is over; ``status`` is for people."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Settings are being read again; :meth:`ready` follows."""
        # The manager tells by the time that this belongs to its own signal.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1", _status("stopping"))

    def alive(self, status: str) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1", _status(status))

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._is_quiet:
                logger.warning("the service manager cannot be told: %s", error)
            self._is_quiet = True


def _status(text: str) -> str:
    # A line feed would begin another assignment.
    printable = "".join(char if char.isprintable() else " " for char in text)
    return f"STATUS={printable[:_STATUS_MAX]}"


class Watchdog:
    """Gives signs of life as long as the loop turns and the store answers.

    Args:
        pause: sleeps for some seconds; ``asyncio.sleep``.
        status: a line for people.
    """

    def __init__(
        self,
        notifier: Notifier,
        store: UnitStore,
        *,
        pause: Callable[[float], Awaitable[None]],
        status: Callable[[], str],
    ) -> None:
        self._notifier = notifier
        self._store = store
        self._pause = pause
        self._status = status

    async def run(self) -> None:
        """Run until cancelled; returns at once when nobody waits for signs of life."""
        if not self._notifier.watchdog_s:
            return
        while await self._answers():
            self._notifier.alive(self._status())
            await self._pause(self._notifier.watchdog_s / _SIGNS_PER_TIMEOUT)

    async def _answers(self) -> bool:
        """Wait for the store to commit nothing; a store that hangs never answers."""
        try:
            await self._store.run(Unit(()))
        except StoreFailedError:
            return False
        except StoreError:
            return True  # a full disk is an answer
        return True
