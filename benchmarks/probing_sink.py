"""A receiver that takes everything and tells when probes arrived.

A process of its own. It listens on the address in its first argument (``host:port``, port 0
for any), says it on standard output, and then writes one line for each message whose
subject begins with ``probe``: the rest of the subject and the time, in seconds of the
monotonic clock, which all processes of a machine share.
"""

import asyncio
import sys
import time
from typing import Final, cast

import uvloop
from typing_extensions import override

END: Final = b"\r\n.\r\n"
_SUBJECT: Final = b"\nSubject: probe "


class Session(asyncio.Protocol):
    """A connection; it may pipeline as it likes (RFC 2920, and beyond)."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._in_data = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink.example\r\n")

    @override
    def data_received(self, data: bytes) -> None:
        self._pending += data
        said: list[bytes] = []
        while self._content(said) if self._in_data else self._command(said):
            pass
        if said:
            self._transport.write(b"".join(said))

    def _content(self, said: list[bytes]) -> bool:
        end = self._pending.find(END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._pending) - len(END))
            return False
        begins = self._pending.find(_SUBJECT, 0, end)
        if begins >= 0:
            begins += len(_SUBJECT)
            token = self._pending[begins : self._pending.index(b"\r", begins)]
            print(token.decode(), time.monotonic(), flush=True)
        del self._pending[: end + len(END)]
        self._in_data, self._searched = False, 0
        said.append(b"250 2.0.0 ok\r\n")
        return True

    def _command(self, said: list[bytes]) -> bool:
        end = self._pending.find(b"\r\n")
        if end < 0:
            return False
        verb = bytes(self._pending[:4]).upper()
        if verb == b"DATA":
            # The line's CRLF stays, as the one before the content's first line.
            del self._pending[:end]
            self._in_data = True
            said.append(b"354 go\r\n")
            return True
        del self._pending[: end + 2]
        if verb == b"EHLO":
            said.append(b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == b"QUIT":
            said.append(b"221 bye\r\n")
        else:
            said.append(b"250 ok\r\n")
        return True


async def main(host: str, port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Session, host, port, backlog=1024)
    found = server.sockets[0].getsockname()
    print(f"{found[0]}:{found[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    where, _, number = sys.argv[1].rpartition(":")
    uvloop.run(main(where, int(number)))
