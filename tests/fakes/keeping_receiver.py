"""A receiver that takes everything and keeps every octet, with 8BITMIME or without."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, cast

_END: Final = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Kept:
    """A transaction.

    Attributes:
        recipients: as RCPT had them.
        is_8bit_declared: MAIL had ``BODY=8BITMIME``.
        wire: the content between DATA and the final dot, dots still stuffed.
    """

    recipients: tuple[str, ...]
    is_8bit_declared: bool
    wire: bytes

    @property
    def content(self) -> bytes:
        """The content without the stuffed dots (RFC 5321 §4.5.2)."""
        return (b"\r\n" + self.wire).replace(b"\r\n.", b"\r\n")[2:]


class KeepingReceiver:
    """Listens on 127.0.0.1. Use as ``async with KeepingReceiver(…) as receiver``.

    Attributes:
        has_8bitmime: whether it offers the extension (RFC 6152).
        port: where it listens.
        kept: what it took, by recipient; the latest copy of each.
        copies: how many it took.
    """

    def __init__(self, *, has_8bitmime: bool) -> None:
        self.has_8bitmime = has_8bitmime
        self.port = 0
        self.kept: dict[str, Kept] = {}
        self.copies = 0
        self._server: asyncio.Server | None = None

    def take(self, kept: Kept) -> None:
        """Keep a transaction."""
        for recipient in kept.recipients:
            self.kept[recipient] = kept
            self.copies += 1

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Dialog(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()


class _Dialog(asyncio.Protocol):
    """A connection; it may pipeline."""

    def __init__(self, receiver: KeepingReceiver) -> None:
        self._receiver = receiver
        self._pending = bytearray()
        self._searched = 0
        self._in_data = False
        self._recipients: list[str] = []
        self._is_8bit = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 mx.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while self._take_content() if self._in_data else self._take_command():
            pass

    def _take_content(self) -> bool:
        """Take a whole content, which begins with the CRLF of the line DATA."""
        end = self._pending.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._pending) - len(_END))
            return False
        wire = bytes(self._pending[2 : end + 2])
        self._receiver.take(Kept(tuple(self._recipients), self._is_8bit, wire))
        del self._pending[: end + len(_END)]
        self._in_data = False
        self._recipients = []
        self._transport.write(b"250 2.0.0 kept\r\n")
        return True

    def _take_command(self) -> bool:
        end = self._pending.find(b"\r\n")
        if end < 0:
            return False
        line = self._pending[:end].decode("utf-8", "replace")
        verb = line.partition(" ")[0].upper()
        said = "250 2.0.0 ok"
        if verb == "DATA":
            # The line's CRLF stays, as the one before the content's first line.
            self._in_data, self._searched, said = True, 0, "354 go"
            del self._pending[:end]
        else:
            del self._pending[: end + 2]
        if verb == "EHLO":
            eight = "250-8BITMIME\r\n" if self._receiver.has_8bitmime else ""
            said = f"250-mx.example\r\n{eight}250-SMTPUTF8\r\n250 PIPELINING"
        elif verb == "MAIL":
            self._is_8bit = "BODY=8BITMIME" in line.upper()
        elif verb == "RCPT":
            self._recipients.append(line.partition("<")[2].partition(">")[0])
        elif verb == "RSET":
            self._recipients = []
        elif verb == "QUIT":
            said = "221 2.0.0 bye"
        self._transport.write(f"{said}\r\n".encode())
        return True
