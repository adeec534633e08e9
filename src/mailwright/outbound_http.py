"""HTTP requests to URLs that tenants name: lists to pull, webhooks to call.

Whoever names a URL would choose what this machine connects to, so the host's name is
resolved by the node's own resolver, an address that is not globally routable is refused
unless its network is allowed by name, and the connection goes to the very address that was
looked at. Redirects are not followed, proxies of the environment are not used, and time
and octets are limited.

Standards: RFC 9110 (HTTP).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx

from mailwright.errors import MailwrightError
from mailwright.resolver import Outcome, Resolver
from mailwright.routable import IPAddress, Network, is_permitted

MAX_URL_CHARS: Final = 2048
#: Addresses of one host that are connected to, at most.
_MAX_ADDRESSES: Final = 3
_CONNECT_S: Final = 10.0
#: Without an octet for so long, a peer is gone.
_SILENCE_S: Final = 30.0
#: None is kept: a connection is found again by its address, and the certificate of one
#: host there says nothing of another's.
_CONNECTIONS: Final = httpx.Limits(max_connections=200, max_keepalive_connections=0)


class OutboundHttpError(MailwrightError):
    """There is no answer; ``reason`` is for whoever named the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What was answered.

    Attributes:
        headers: names in lower case; of repeated ones the values joined by commas.
        body: as it was sent, cut where the limit was reached.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer whose body is still coming.

    Attributes:
        pieces: the body as it is sent (``Content-Encoding`` not undone), once.
    """

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


def url_defect(text: str) -> str:
    """Return why ``text`` is no URL that we would ask, or ``""``."""
    if len(text) > MAX_URL_CHARS:
        return f"over {MAX_URL_CHARS} characters"
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return "is not a URL"
    if url.scheme not in {"http", "https"} or not url.host:
        return "needs http:// or https:// and a host"
    return ""


class OutboundHttp:
    """Asks URLs. Used on one event loop; each request has a connection of its own."""

    def __init__(
        self,
        resolver: Resolver,
        allowed_networks: Callable[[], Sequence[Network]] = tuple,
        *,
        user_agent: str = "mailwright",
        verify: ssl.SSLContext | None = None,
    ) -> None:
        """``allowed_networks`` are asked at each request: not global, yet allowed."""
        self._resolver = resolver
        self._allowed_networks = allowed_networks
        self._user_agent = user_agent
        self._verify = verify
        self._made: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close what is kept open."""
        made, self._made = self._made, None
        if made is not None:
            await made.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        within_s: float,
        max_octets: int = 65_536,
    ) -> HttpAnswer:
        """Return the answer of ``url``; all of it takes at most ``within_s``.

        Raises:
            OutboundHttpError: it may not be asked, or there was no whole answer.
        """
        async with self.stream(
            method, url, content=content, headers=headers, within_s=within_s
        ) as answer:
            body = bytearray()
            async for piece in answer.pieces:
                body += piece
                if len(body) >= max_octets:
                    break
            return HttpAnswer(answer.status, answer.headers, bytes(body[:max_octets]))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        within_s: float,
        clear_text_anywhere: bool = True,
    ) -> AsyncIterator[StreamedAnswer]:
        """Give the answer of ``url`` while its body comes.

        Without ``clear_text_anywhere``, ``http://`` goes to allowed networks alone.

        Raises:
            OutboundHttpError: it may not be asked, or the answer broke off; also out of
                the block, from reading ``pieces`` or when ``within_s`` has passed.
        """
        defect = url_defect(url)
        if defect:
            raise OutboundHttpError(f"the URL {defect}")
        try:
            async with asyncio.timeout(within_s):
                asked = httpx.URL(url)
                is_inside = asked.scheme == "http" and not clear_text_anywhere
                addresses = await self._addresses(asked.host, is_inside=is_inside)
                response = await self._sent(
                    method, asked, addresses, content, headers or {}
                )
                try:
                    yield StreamedAnswer(
                        response.status_code,
                        {name.lower(): text for name, text in response.headers.items()},
                        response.aiter_raw(),
                    )
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise OutboundHttpError("took too long") from error
        except httpx.HTTPError as error:
            raise OutboundHttpError(_reason(error)) from error

    async def _sent(
        self,
        method: str,
        url: httpx.URL,
        addresses: Sequence[IPAddress],
        content: bytes,
        headers: Mapping[str, str],
    ) -> httpx.Response:
        """Return the response of the first address that can be connected to."""
        failure: httpx.HTTPError | None = None
        for address in addresses:
            request = self._client.build_request(
                method,
                # What is connected to is what was looked at: no second look-up.
                url.copy_with(host=str(address)),
                content=content,
                headers={"Accept-Encoding": "identity", **headers, "Host": _host(url)},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                return await self._client.send(
                    request, stream=True, follow_redirects=False
                )
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or OutboundHttpError("the host has no address")

    async def _addresses(self, host: str, *, is_inside: bool) -> Sequence[IPAddress]:
        try:
            found = [ip_address(host)]
        except ValueError:
            name = httpx.URL(scheme="http", host=host).raw_host.decode("ascii")
            answer = await self._resolver.addresses(name.rstrip("."), want_v6=True)
            if answer.outcome is not Outcome.FOUND:
                raise OutboundHttpError(
                    f"the host has no address: {answer.reason or answer.outcome.value}"
                ) from None
            found = [ip_address(text) for text in answer.records]
        allowed = self._allowed_networks()
        permitted = [one for one in found if is_permitted(one, allowed)]
        if not permitted:
            raise OutboundHttpError("the host's address is not globally routable")
        if is_inside:
            permitted = [one for one in permitted if any(one in net for net in allowed)]
        if not permitted:
            raise OutboundHttpError("needs https:// to be sent so far")
        return permitted[:_MAX_ADDRESSES]

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._made is None:
            self._made = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
                limits=_CONNECTIONS,
                headers={"User-Agent": self._user_agent},
                verify=True if self._verify is None else self._verify,
            )
        return self._made


def _host(url: httpx.URL) -> str:
    """Return what the field Host says (RFC 9110 §7.2)."""
    return url.netloc.decode("ascii")


def _reason(error: httpx.HTTPError) -> str:
    """Return a short text that names nothing of this machine."""
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    if isinstance(error, httpx.RemoteProtocolError):
        return "answered with something that is no HTTP"
    return "the connection broke"
