"""The options that say which node a command is for, and the way to it.

``--url`` with a key leads to the HTTP API of a node anywhere; ``--settings`` alone leads
to the operator's door of the node on this machine. Whoever may use both chooses by what
is given: a key acts for its tenant, the door for the operator.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import httpx
import typer
from typing_extensions import override

from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.operator import (
    OperatorDoor,
    operator_client,
    refused,
    run_operation,
)
from mailwright.config.loading import load_node

_T = TypeVar("_T")

#: An answer may take as long as a whole upload is being made durable.
_TIMEOUT_S: Final = 600.0
_CONNECT_S: Final = 10.0
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PANEL: Final = "Which node, and by which door"


@dataclass(frozen=True, slots=True)
class Reach:
    """Which node, and by which door: the options, and the way there.

    Attributes:
        key: of its API; without, the operator's door is meant.
        settings: of a node on this machine.
    """

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="MAILWRIGHT_URL",
            help="Where its API is, such as http://127.0.0.1:8025.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="MAILWRIGHT_API_KEY",
            help="An API key, better in the environment.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            envvar="MAILWRIGHT_SETTINGS",
            help="The settings file of the node on this machine.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def run_any(self, work: Callable[[OperatorDoor], Awaitable[_T]]) -> _T:
        """Run ``work`` with the API if there is a key, else with the operator's door.

        What goes wrong is said on standard error, and the command exits.
        """
        if self.key is None and self.url is None:
            with command_errors():
                if self.settings is None:
                    raise CommandError(
                        "say which node: --settings FILE for the one on this machine, or "
                        "--url and --key (MAILWRIGHT_URL, MAILWRIGHT_API_KEY)"
                    )
            return run_operation(self.settings, work)
        return self.run_api(work)

    def run_api(self, work: Callable[["ApiDoor"], Awaitable[_T]]) -> _T:
        """Run ``work`` with the API; as :meth:`run_any` otherwise."""

        async def opened() -> _T:
            async with self._opened() as client:
                return await work(ApiDoor(client))

        with command_errors():
            return asyncio.run(opened())

    def _opened(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return _api(self._base_url(), self._key())

    def _base_url(self) -> str:
        if self.url is not None:
            if not self.url.startswith(("http://", "https://")):
                raise CommandError(
                    f"--url {self.url}: begin it with http:// or https://"
                )
            return self.url
        if self.settings is None:
            raise CommandError(
                "say where the node is: --url, MAILWRIGHT_URL, or --settings"
            )
        listen = load_node(self.settings).http.listen
        if listen.port == 0:
            raise CommandError("the node has no fixed port for HTTP: give --url")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
        return (
            f"http://[{host}]:{listen.port}"
            if ":" in host
            else (f"http://{host}:{listen.port}")
        )

    def _key(self) -> str:
        if not self.key:
            raise CommandError(
                "an API key is needed: --key or MAILWRIGHT_API_KEY "
                "(see: mailwright key create)"
            )
        return self.key


@dataclass(frozen=True, slots=True)
class TenantReach(Reach):
    """The way to what is always some tenant's.

    Attributes:
        credential: as whom an operator acts.
    """

    credential: Annotated[
        str | None,
        typer.Option(
            "--credential",
            help="For operators: as whose campaign, if there are several credentials.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @override
    def _opened(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        if self.key is None and self.url is None and self.settings is not None:
            return _as_operator(self.settings, self.credential)
        return _api(self._base_url(), self._key())


class ApiDoor(OperatorDoor):
    """Asks the API; takes and gives streams too."""

    async def put(
        self,
        path: str,
        content: bytes,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Any:
        """Return what an upload answers, from JSON.

        Raises:
            RefusedError: the node refused it.
            httpx.TransportError: the connection ended; some of it may have arrived.
        """
        response = await self._client.put(
            path, params=params, content=content, headers=headers
        )
        if response.is_success:
            return response.json()
        raise refused(response)

    async def read(
        self, path: str, *, params: Mapping[str, str | int]
    ) -> AsyncIterator[bytes]:
        """Yield what a question answers, as it comes.

        Raises:
            RefusedError: the node refused it.
            CommandError: the answer broke off.
        """
        try:
            async with self._client.stream("GET", path, params=params) as response:
                if not response.is_success:
                    await response.aread()
                    raise refused(response)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise CommandError(f"the answer broke off ({name})") from error


@asynccontextmanager
async def _as_operator(
    settings: Path, credential: str | None
) -> AsyncIterator[httpx.AsyncClient]:
    node = load_node(settings)
    async with operator_client(node) as client:
        if credential is not None:
            client.params = client.params.set("credential", credential)
        yield client


@asynccontextmanager
async def _api(url: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
    headers = {"Authorization": f"Bearer {key}"}
    # A proxy of the environment leads away from this machine, never to it.
    is_here = (httpx.URL(url).host or "") in _HERE
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=timeout, trust_env=not is_here
    ) as client:
        yield client
