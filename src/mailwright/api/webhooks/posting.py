"""One request to an endpoint: signed, bounded in time and octets.

Nothing of the answer is believed but its status.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import httpx

from mailwright.accounts.sealing import SealError, Secret
from mailwright.api.webhooks.endpoint import Endpoint
from mailwright.api.webhooks.ports import Seals
from mailwright.api.webhooks.schedule import Result
from mailwright.api.webhooks.signing import headers_of
from mailwright.outbound_http import (
    OutboundHttp,
    OutboundHttpError,
    StreamedAnswer,
    url_defect,
)
from mailwright.routable import Network

#: For all of a request.
WITHIN_S: Final = 20.0
#: Of an answer, and for it after its status; the rest is not read.
ANSWER_OCTETS: Final = 65_536
DRAIN_S: Final = 2.0


def webhook_url_defect(text: str, allowed: Sequence[Network]) -> str:
    """Return why events are not sent to ``text``, or ``""``.

    Whether the host's address may be connected to is seen when it is: names change.
    Clear text is for the networks that are allowed by name.
    """
    defect = url_defect(text)
    if defect:
        return defect
    url = httpx.URL(text)
    if url.userinfo or url.fragment:
        return "has a user, a password or a fragment: leave it out"
    if any(not 0x20 < ord(char) < 0x7F for char in text):
        return "has characters that are to be written as %XX, or in A-labels"
    last = url.host.rstrip(".").rpartition(".")[2]
    if last[:2].lower() == "0x" or (last.isdigit() and url.host.count(".") != 3):
        return "has a number for a host"
    if url.scheme == "http" and not allowed:
        return "needs https://"
    return ""


class HttpPoster:
    """Posts bodies over HTTP."""

    def __init__(
        self,
        http: OutboundHttp,
        seals: Seals,
        allowed_networks: Callable[[], Sequence[Network]],
        *,
        within_s: float = WITHIN_S,
    ) -> None:
        self._http = http
        self._seals = seals
        self._allowed_networks = allowed_networks
        self._within_s = within_s

    async def post(
        self, endpoint: Endpoint, ident: str, body: bytes, at: datetime
    ) -> Result:
        """Send ``body`` under the name ``ident``; failures are results.

        The status alone is what counts: what the rest of the answer is, and whether it
        ever comes, changes nothing.
        """
        defect = webhook_url_defect(endpoint.url, self._allowed_networks())
        if defect:
            return Result(0, f"the URL {defect}")
        try:
            secrets = self._secrets(endpoint, at)
        except SealError:
            return Result(0, "its secret does not open with this node's key")
        headers = {
            "Content-Type": "application/json",
            **headers_of(ident, at, body, secrets),
        }
        result: Result | None = None
        try:
            async with self._http.stream(
                "POST",
                endpoint.url,
                content=body,
                headers=headers,
                within_s=self._within_s,
                clear_text_anywhere=False,
            ) as answer:
                result = Result(
                    answer.status,
                    "redirects are not followed" if 300 <= answer.status < 400 else "",
                    answer.headers.get("retry-after", "")[:64],
                )
                with contextlib.suppress(TimeoutError):
                    await _drain(answer)
        except OutboundHttpError as error:
            return result or Result(0, error.reason)
        return result

    def _secrets(self, endpoint: Endpoint, at: datetime) -> list[Secret]:
        sealed = [endpoint.secret]
        until = endpoint.old_secret_until
        if endpoint.old_secret is not None and until is not None and at < until:
            sealed.append(endpoint.old_secret)
        return [self._seals.open(endpoint.id, each) for each in sealed]


async def _drain(answer: StreamedAnswer) -> None:
    """Read what comes, within limits: who is cut short takes it for a failure of ours."""
    octets = 0
    async with asyncio.timeout(DRAIN_S):
        async for piece in answer.pieces:
            octets += len(piece)
            if octets >= ANSWER_OCTETS:
                return
