"""The SMTP door's protocol: aiosmtpd's session, hardened.

aiosmtpd gives the protocol with its streams. Everything that a peer can reach is ours: the
readers of :mod:`mailwright.mta.smtp.framing` cut the stream, the
:class:`~mailwright.mta.submission.dialogue.Dialogue` decides, a
:class:`~mailwright.mta.submission.conversation.Conversation` moves the octets. None of
aiosmtpd's verbs, hooks or limits is ever called, its state on the class is never used, and
a disconnect does not cancel what runs.
"""

import asyncio

from aiosmtpd.smtp import SMTP
from typing_extensions import override

from mailwright.mta.submission.conversation import Conversation
from mailwright.mta.submission.door import Door
from mailwright.mta.submission.ports import PeerIp


class SubmissionSession(SMTP):
    """One connection. Whoever connects it runs its :attr:`conversation`.

    Args:
        door: what it shares with the listener's others; entered for ``peer`` already.
        peer: who is at the other end.
    """

    def __init__(self, door: Door, peer: PeerIp) -> None:
        # aiosmtpd's own constructor looks through every attribute for hooks that are
        # never called here: 200 µs for each connection.
        self.loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(loop=self.loop),  # is fed nothing
            self._cb_client_connected,
            self.loop,
        )
        self._door = door
        self._peer = peer
        self._conversation: Conversation | None = None

    @property
    def conversation(self) -> Conversation:
        """What is said on this connection.

        Raises:
            RuntimeError: there is no connection yet.
        """
        if self._conversation is None:
            raise RuntimeError("not connected")
        return self._conversation

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the streams and the conversation; nothing is said yet."""
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = transport
        self._conversation = Conversation(self._door, self._peer, self._writer)

    @override
    def data_received(self, data: bytes) -> None:
        """Let the conversation have what came."""
        self.conversation.octets_came(data)

    @override
    def eof_received(self) -> bool | None:
        """Let the conversation read what came before the end, and answer it."""
        self.conversation.ended()
        return asyncio.StreamReaderProtocol.eof_received(self)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        """Tell the conversation by its streams; cancel nothing."""
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None
        if self._conversation is not None:
            self._conversation.lost()
