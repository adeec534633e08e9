"""HTTP in steps: what one client sends never holds the loop for long.

h11 is written in Python and takes some 50 µs for each chunk of a body; one read of the
socket can bring ten thousand chunks. So h11 gets a little at a time, and others have
their turn in between; what waits is one read, since nothing more is read meanwhile. What
cannot be many chunks, because it has few line ends, goes in one go: an upload does.

Standards: RFC 9112 §7.1 (chunks).
"""

import asyncio
from typing import Final, cast

from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

_STEP_OCTETS: Final = 4_096
#: So much at once, if it has no more line ends than a step may have; a chunk has two.
_LARGE_OCTETS: Final = 65_536
_STEP_LINES: Final = 1_000


class PacedProtocol(H11Protocol):
    """HTTP on one connection."""

    _waiting = b""
    _paced: "_Flow"

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvicorn narrows what asyncio's protocol takes, and uvloop's are no subclasses.
        both_ways = cast("asyncio.Transport", transport)
        super().connection_made(both_ways)
        self.flow = self._paced = _Flow(both_ways)

    @override
    def data_received(self, data: bytes) -> None:
        if self._waiting:
            self._waiting += data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        is_plain = data.count(b"\r\n", 0, _LARGE_OCTETS) <= _STEP_LINES
        octets = _LARGE_OCTETS if is_plain else _STEP_OCTETS
        super().data_received(data[:octets])
        self._waiting = data[octets:]
        if self._waiting:
            self._paced.hold()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, b""
        if self.transport.is_closing():
            return
        self._take(waiting)
        if not self._waiting:
            self._paced.release()


class _Flow(FlowControl):
    """Reads on when neither uvicorn nor we want to wait."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_held = False
        self._is_paused = False

    def hold(self) -> None:
        """Read nothing more until :meth:`release`."""
        self._is_held = True
        super().pause_reading()

    def release(self) -> None:
        """Read on, if uvicorn wants to."""
        self._is_held = False
        if not self._is_paused:
            super().resume_reading()

    @override
    def pause_reading(self) -> None:
        self._is_paused = True
        super().pause_reading()

    @override
    def resume_reading(self) -> None:
        self._is_paused = False
        if not self._is_held:
            super().resume_reading()
