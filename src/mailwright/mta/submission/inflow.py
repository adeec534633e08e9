"""What a peer has sent and nobody has read yet; when it is too much, the peer waits."""

import asyncio
from collections import deque
from typing import Final, cast

#: More than this unread stops the peer.
_MOST_OCTETS: Final = 131_072
#: Handed out at once: whoever reads holds memory for it.
_PIECE_OCTETS: Final = 65_536


class Inflow:
    """The reading end of one connection.

    Args:
        writer: of the same connection; its transport changes when TLS begins.
    """

    __slots__ = (
        "_chunks",
        "_has_ended",
        "_is_dropped",
        "_is_paused",
        "_waiter",
        "_writer",
        "octets",
    )

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._chunks: deque[bytes] = deque()
        self.octets = 0
        self._has_ended = False
        self._is_dropped = False
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come than is unread."""
        return self._has_ended

    def feed(self, octets: bytes) -> None:
        """Keep what came until it is read."""
        if self._is_dropped:
            return
        self._chunks.append(octets)
        self.octets += len(octets)
        if self.octets > _MOST_OCTETS and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def put_back(self, octets: bytes) -> None:
        """Take ``octets`` for unread, before all that is."""
        self._chunks.appendleft(octets)
        self.octets += len(octets)

    def end(self) -> None:
        """Note that nothing more will come."""
        self._has_ended = True
        self._wake()

    def drop(self) -> None:
        """Forget what is unread, and whatever still comes.

        A session is garbage that is collected now and then; its octets must not wait.
        """
        self._is_dropped = True
        self._chunks.clear()
        self.octets = 0
        self.end()

    def take(self) -> bytes:
        """Return the next piece of what is unread; nothing, if there is nothing."""
        if not self._chunks:
            return b""
        octets = self._chunks.popleft()
        if len(octets) > _PIECE_OCTETS:
            self._chunks.appendleft(octets[_PIECE_OCTETS:])
            octets = octets[:_PIECE_OCTETS]
        self.octets -= len(octets)
        if self._is_paused and self.octets <= _MOST_OCTETS // 2:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return octets

    async def read(self) -> bytes:
        """Return a piece of what is unread, at least one octet; nothing at the end."""
        while not self._chunks and not self._has_ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    @property
    def _transport(self) -> asyncio.Transport:
        # A writer's is typed as one that only writes; a socket's reads, too.
        return cast("asyncio.Transport", self._writer.transport)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
