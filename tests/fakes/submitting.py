"""Clients of a node: they submit letters with a token and note what was acknowledged."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from fakes.node_process import API_KEY

PATIENCE_S = 240.0


@dataclass(frozen=True, slots=True)
class Letter:
    """What a client submits. The token stands in every recipient, subject and body."""

    token: str
    recipients: tuple[str, ...]
    octets: int = 600

    @property
    def subject(self) -> str:
        return f"letter {self.token}"

    @property
    def text(self) -> str:
        line = f"{self.token} ".ljust(72, ".") + "\r\n"
        return line * (self.octets // len(line) + 1)

    def to_wire(self) -> bytes:
        """Return the content with its final dot; no line of it begins with one."""
        header = f"From: <a@example.com>\r\nSubject: {self.subject}\r\n\r\n"
        return f"{header}{self.text}.\r\n".encode()


@dataclass(slots=True)
class Book:
    """What was offered, and what of it a node took.

    Attributes:
        offered: recipients by token.
        acknowledged: tokens, in the order in which the answers came.
    """

    offered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, letter: Letter) -> None:
        self.offered[letter.token] = letter.recipients

    def acknowledge(self, letter: Letter) -> None:
        self.acknowledged.append(letter.token)
        self._news.set()

    async def wait_acknowledged(self, count: int) -> None:
        """Return when ``count`` letters were acknowledged; give it a deadline."""
        while len(self.acknowledged) < count:
            self._news.clear()
            await self._news.wait()


class RefusedError(AssertionError):
    """A node answered what it should not have."""


class SmtpClient:
    """One SMTP connection. Envelopes go in one write (the node offers PIPELINING).

    Attributes:
        has_sent_content: whether a content was sent whose answer did not come yet.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.has_sent_content = False
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> "SmtpClient":
        reader, writer = await asyncio.open_connection(*address)
        client = cls(reader, writer)
        try:
            await client.expect(b"220")
            await client.say(b"EHLO client.example.com\r\n", b"250")
        except BaseException:
            await client.close()
            raise
        return client

    async def submit(self, letter: Letter) -> bytes:
        """Return the reply to the final dot; 250 says that it is taken."""
        rcpt = b"".join(b"RCPT TO:<%s>\r\n" % to.encode() for to in letter.recipients)
        self._writer.write(b"MAIL FROM:<a@example.com>\r\n" + rcpt + b"DATA\r\n")
        for _ in range(1 + len(letter.recipients)):
            await self.expect(b"250")
        await self.expect(b"354")
        self.has_sent_content = True
        reply = await self.say(letter.to_wire(), b"250")
        self.has_sent_content = False
        return reply

    async def say(self, octets: bytes, expected: bytes) -> bytes:
        """Write ``octets`` and return the last line of the reply."""
        self._writer.write(octets)
        return await self.expect(expected)

    async def say_all(self, octets: bytes) -> bytes:
        """Write ``octets`` in one go and return all that is said until the end."""
        self._writer.write(octets)
        said = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while more := await self._reader.read(65_536):
                    said += more
        return said

    async def expect(self, code: bytes) -> bytes:
        """Return the last line of a reply with ``code``.

        Raises:
            ConnectionError: the node has gone.
            RefusedError: it answered something else.
        """
        while line := await self._reader.readline():
            if not line.startswith(code):
                raise RefusedError(line.decode())
            if line[3:4] == b" ":
                return line
        raise ConnectionResetError("closed")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class HttpClient:
    """One HTTP client."""

    def __init__(self, address: tuple[str, int]) -> None:
        host, port = address
        self._client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}",
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=PATIENCE_S,
            trust_env=False,
        )

    async def submit(self, letter: Letter) -> None:
        """Return when the message is taken.

        Raises:
            ConnectionError: the node has gone.
            RefusedError: it answered something else.
        """
        await self.send(
            bcc=list(letter.recipients), subject=letter.subject, text=letter.text
        )

    async def send(self, **body: object) -> None:
        """Submit any JSON; raises as :meth:`submit` does."""
        body = {"from": "a@example.com", **body}
        try:
            answer = await self._client.post("/v1/messages", json=body)
        except httpx.TransportError as error:
            raise ConnectionResetError("closed") from error
        if answer.status_code != 201:
            raise RefusedError(f"{answer.status_code} {answer.text}")

    async def events(self) -> list[dict[str, Any]]:
        """Return every event."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            answer = await self._client.get(
                "/v1/events", params={"after": after, "limit": 1000}
            )
            page = answer.raise_for_status().json()
            if not page["events"]:
                return found
            found += page["events"]
            after = page["next"]

    async def close(self) -> None:
        await self._client.aclose()


async def submit_all(
    address: tuple[str, int], letters: Sequence[Letter], book: Book
) -> None:
    """Submit ``letters`` over one SMTP connection."""
    client = await SmtpClient.connect(address)
    try:
        for letter in letters:
            book.offer(letter)
            await client.submit(letter)
            book.acknowledge(letter)
    finally:
        await client.close()
