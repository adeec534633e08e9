"""Requests to URLs that tenants name go only where this node may connect."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network

import pytest

from fakes.resolver import FakeResolver
from mailwright.outbound_http import OutboundHttp, OutboundHttpError, url_defect
from mailwright.routable import Network

LOOPBACK = (ip_network("127.0.0.0/8"),)


class Site:
    """A server that answers every connection with the same octets."""

    def __init__(self, *parts: bytes, is_hanging: bool = False) -> None:
        self._parts = parts
        self._is_hanging = is_hanging
        self.asked: list[bytes] = []
        self.port = 0
        self._serving: list[asyncio.Task[None]] = []

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        with contextlib.suppress(ConnectionError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            for part in self._parts:
                writer.write(part)
                await writer.drain()
            if self._is_hanging:
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def __aenter__(self) -> "Site":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            await task


def ok(body: bytes, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def drive(
    site: Site,
    test: Callable[[OutboundHttp, FakeResolver], Awaitable[None]],
    allowed: Sequence[Network] = LOOPBACK,
) -> None:
    async def run() -> None:
        resolver = FakeResolver()
        resolver.set_addresses("list.example", v4=["127.0.0.1"])
        http = OutboundHttp(resolver, lambda: allowed)
        async with asyncio.timeout(60), site:
            try:
                await test(http, resolver)
            finally:
                await http.close()

    asyncio.run(run())


def test_the_host_is_resolved_once_and_the_name_is_what_the_server_hears() -> None:
    site = Site(ok(b"hello", b'ETag: "e1"'))

    async def test(http: OutboundHttp, resolver: FakeResolver) -> None:
        url = f"http://list.example:{site.port}/a?b=c"
        answer = await http.request("GET", url, within_s=60)
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["etag"] == '"e1"'
        assert resolver.asked == [("A+AAAA", "list.example")]
        assert b"GET /a?b=c HTTP/1.1\r\n" in site.asked[0]
        assert f"Host: list.example:{site.port}\r\n".encode() in site.asked[0]

    drive(site, test)


@pytest.mark.parametrize("host", ["127.0.0.1", "list.example", "[::ffff:127.0.0.1]"])
def test_an_address_that_is_not_global_is_not_connected_to(host: str) -> None:
    site = Site(ok(b"secret"))

    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        with pytest.raises(OutboundHttpError, match="not globally routable"):
            await http.request("GET", f"http://{host}:{site.port}/", within_s=60)
        assert site.asked == []

    drive(site, test, allowed=())


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    site = Site(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    )

    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        answer = await http.request(
            "GET", f"http://127.0.0.1:{site.port}/", within_s=60
        )
        assert answer.status == 302
        assert len(site.asked) == 1

    drive(site, test)


def test_a_body_is_cut_where_the_limit_is() -> None:
    site = Site(ok(b"x" * 500_000))

    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        answer = await http.request(
            "GET", f"http://127.0.0.1:{site.port}/", within_s=60, max_octets=1000
        )
        assert answer.body == b"x" * 1000

    drive(site, test)


def test_a_server_that_hangs_is_left_in_time() -> None:
    site = Site(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", is_hanging=True)

    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        with pytest.raises(OutboundHttpError, match="took too long"):
            await http.request("GET", f"http://127.0.0.1:{site.port}/", within_s=0.2)

    drive(site, test)


def test_an_answer_that_breaks_off_is_none() -> None:
    site = Site(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        with pytest.raises(OutboundHttpError):
            await http.request("GET", f"http://127.0.0.1:{site.port}/", within_s=60)

    drive(site, test)


def test_a_host_without_an_address_is_named_as_that() -> None:
    async def test(http: OutboundHttp, _: FakeResolver) -> None:
        with pytest.raises(OutboundHttpError, match="no address"):
            await http.request("GET", "http://nowhere.example/", within_s=60)

    drive(Site(), test)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "a.example",
        "http://",
        "http://a" * 900,
    ],
)
def test_what_is_no_url_of_the_web_is_told(text: str) -> None:
    assert url_defect(text)
    assert not url_defect("https://a.example/list.csv?token=1")
