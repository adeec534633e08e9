"""A receiver of webhooks on a loopback port that does what a test says."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self

from standardwebhooks.webhooks import Webhook


class Answer(Enum):
    """What becomes of a request."""

    TAKE = "200"
    FAIL = "500"
    GONE = "410"
    BUSY = "429, and when to come back"
    REDIRECT = "302 to itself"
    HANG = "reads, and never answers"
    CLOSE = "closes before it has read"
    GARBAGE = "answers with what is no HTTP"
    TAKE_AND_HANG = "200, and a body that never ends"
    TAKE_AND_FLOOD = "200, and a body without an end"


_TAKES = {Answer.TAKE, Answer.TAKE_AND_HANG, Answer.TAKE_AND_FLOOD}
_STATUS = {
    Answer.TAKE: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    Answer.FAIL: b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    Answer.GONE: b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    Answer.BUSY: b"HTTP/1.1 429 Busy\r\nRetry-After: 1800\r\nContent-Length: 0\r\n\r\n",
    Answer.REDIRECT: b"HTTP/1.1 302 F\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
    Answer.GARBAGE: b"220 mx.example.com ESMTP\r\n",
    Answer.TAKE_AND_HANG: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha",
    Answer.TAKE_AND_FLOOD: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
}


@dataclass(frozen=True)
class Request:
    """One batch that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: Answer

    @property
    def ident(self) -> str:
        return self.headers["webhook-id"]

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)["data"]
        return found

    def verify(self, secret: str) -> None:
        """Check the signature with code that is not ours; raises if it is wrong."""
        Webhook(secret).verify(self.body, dict(self.headers))

    def is_signed_with(self, secret: str) -> bool:
        """Return the same, whatever time the sender thought it was."""
        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        signature = Webhook(secret).sign(self.ident, at, self.body.decode())
        return signature in self.headers["webhook-signature"].split(" ")


@dataclass
class HookReceiver:
    """Answers the n-th request of all as ``answers`` says, then ``usual``.

    Attributes:
        on_taking: called before an answer of class 2 is written.
        on_taken: called after it was.
        release: set it, and whoever hangs goes.
    """

    answers: list[Answer] = field(default_factory=list)
    usual: Answer = Answer.TAKE
    requests: list[Request] = field(default_factory=list)
    on_taking: Callable[[Request], None] = lambda _request: None
    on_taken: Callable[[Request], None] = lambda _request: None
    port: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.release.set()
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await task
        await self._server.wait_closed()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def taken(self) -> list[Request]:
        return [each for each in self.requests if each.answer in _TAKES]

    def events(self, path: str = "/hook") -> list[dict[str, Any]]:
        """Return the events in batches that were taken, each once, as they came."""
        found: dict[str, dict[str, Any]] = {}
        for request in self.taken:
            if request.path == path:
                for event in request.events:
                    found.setdefault(event["id"], event)
        return list(found.values())

    def repeated(self) -> Counter[str]:
        """Return the events that were taken more than once."""
        ids = Counter(each["id"] for request in self.taken for each in request.events)
        return Counter({ident: n for ident, n in ids.items() if n > 1})

    async def wait(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        """Return when ``condition`` holds; it is looked at after each request."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            self._news.set()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.split("\r\n")[:-2]
        answer = self.answers.pop(0) if self.answers else self.usual
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        if answer is Answer.CLOSE:
            return
        body = await reader.readexactly(int(headers["content-length"]))
        request = Request(first.split(" ")[1], headers, body, answer)
        self.requests.append(request)
        self._news.set()
        if answer in _TAKES:
            self.on_taking(request)
        if answer is not Answer.HANG:
            writer.write(_STATUS[answer])
            await writer.drain()
        if answer in _TAKES:
            self.on_taken(request)
        if answer in {Answer.HANG, Answer.TAKE_AND_HANG}:
            await self.release.wait()
        while answer is Answer.TAKE_AND_FLOOD:
            writer.write(b"x" * 65_536)
            await writer.drain()
