"""An SMTP receiver on a loopback port that does what a test says."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

#: What a behaviour may do instead of a reply.
HANG_UP = b"hang up"
RESET = b"reset"
SILENCE = b"silence"


@dataclass
class Behaviour:
    """How one connection is treated.

    Attributes:
        offers: lines of the response to EHLO after the first.
        replies: what is said at a step (``banner``, ``EHLO``, ``MAIL``, ``.``, …) instead
            of the usual; octets with their line ends, or one of the three above.
        trickles: octets of a reply come one by one with this pause, in seconds.
        gate: is waited for before a content is read.
        tls: with it STARTTLS is offered; a 220 without it begins no TLS.
    """

    offers: Sequence[bytes] = (b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES")
    replies: dict[str, bytes] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    trickles: float = 0.0
    gate: asyncio.Event | None = None


USUAL = {
    "banner": b"220 mx.example.com\r\n",
    "HELO": b"250 mx.example.com\r\n",
    "STARTTLS": b"220 2.0.0 Go\r\n",
    "AUTH": b"235 2.7.0 Welcome\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 Go\r\n",
    ".": b"250 2.0.0 Queued\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


class ScriptedReceiver:
    """Listens on 127.0.0.1; the n-th connection gets the n-th behaviour, or the last.

    Attributes:
        commands: lines of all connections, in order, without CRLF.
        contents: un-stuffed contents that were read to their dot.
        peers: source address of each connection.
        over: connections that have ended.
        reached: is set when the step of that name is reached.
    """

    def __init__(self, *behaviours: Behaviour, host: str = "127.0.0.1") -> None:
        self.port = 0
        self.commands: list[bytes] = []
        self.contents: list[bytes] = []
        self.peers: list[str] = []
        self.over = 0
        self.reached: dict[str, asyncio.Event] = {}
        self._behaviours = behaviours or (Behaviour(),)
        self._host = host
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "ScriptedReceiver":
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    def at(self, step: str) -> asyncio.Event:
        """Return the event of reaching ``step``."""
        return self.reached.setdefault(step, asyncio.Event())

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.append(writer)
        behaviour = self._behaviours[min(len(self.peers), len(self._behaviours) - 1)]
        self.peers.append(writer.get_extra_info("peername")[0])
        try:
            if await self._say("banner", behaviour, writer):
                await self._converse(reader, writer, behaviour)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.over += 1
            writer.close()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behaviour: Behaviour,
    ) -> None:
        offers = [*behaviour.offers]
        if behaviour.tls is not None:
            offers.append(b"STARTTLS")
        while True:
            line = (await reader.readuntil(b"\r\n"))[:-2]
            self.commands.append(line)
            verb = line.partition(b" ")[0].decode().upper()
            usual = _ehlo(offers) if verb == "EHLO" else USUAL.get(verb, b"500 ?\r\n")
            said = behaviour.replies.get(verb, usual)
            if not await self._say(verb, behaviour, writer, said) or verb == "QUIT":
                return
            if verb == "STARTTLS" and said.startswith(b"220"):
                if behaviour.tls is None:
                    await reader.read(1)
                    writer.write(b"500 What is this?\r\n")
                    return
                offers.remove(b"STARTTLS")
                await writer.start_tls(behaviour.tls)
            if verb == "DATA" and said.startswith(b"354"):
                if behaviour.gate is not None:
                    await behaviour.gate.wait()
                self.contents.append(await _content(reader))
                if not await self._say(".", behaviour, writer):
                    return

    async def _say(
        self,
        step: str,
        behaviour: Behaviour,
        writer: asyncio.StreamWriter,
        usual: bytes = b"",
    ) -> bool:
        """Say what is to be said at ``step``; false when the connection is over."""
        said = behaviour.replies.get(step, usual or USUAL.get(step, b""))
        self.at(step).set()
        if said == HANG_UP:
            return False
        if said == RESET:
            writer.transport.abort()
            return False
        if said == SILENCE:
            await asyncio.Event().wait()
        if not behaviour.trickles:
            writer.write(said)
            return True
        while True:  # never gets to the end
            writer.write(said[:4].replace(b" ", b"-") + b"\r\n")
            await asyncio.sleep(behaviour.trickles)


def _ehlo(offers: Sequence[bytes]) -> bytes:
    lines = [b"mx.example.com", *offers]
    return b"".join(
        b"250%b%b\r\n" % (b" " if line is lines[-1] else b"-", line) for line in lines
    )


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)
