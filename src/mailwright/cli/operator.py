"""Commands that work through the operator's routes, whether the node runs or not.

While it runs they go through its Unix socket. While it does not, they open the database
under the node's lock and ask the same routes in this process.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import httpx
import typer

from mailwright.api.sockets import SOCKET_NAME, reachable
from mailwright.cli.failures import CommandError, command_errors
from mailwright.config.loading import load_node
from mailwright.config.node import NodeSettings
from mailwright.config.problems import printable

_T = TypeVar("_T")

#: Asking DNS for thousands of domains takes its time.
_TIMEOUT_S: Final = 600.0
_CONNECT_S: Final = 5.0
#: Base of every address; the transport leads to one node whatever it says.
_ORIGIN: Final = "http://node"

SettingsOption = Annotated[
    Path,
    typer.Option(
        "--settings",
        envvar="MAILWRIGHT_SETTINGS",
        help="The node's settings file.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class RefusedError(CommandError):
    """A request that was refused.

    Attributes:
        problem: as the node said it (RFC 9457).
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(_text_of(problem))
        self.problem = problem

    def with_fields(self) -> CommandError:
        """Return it with the field and the line that each error is about."""
        lines = []
        for each in self.problem.get("errors", ()):
            places = (each.get(name) for name in ("field", "line", "column"))
            place = ":".join(str(part) for part in places if part)
            lines.append(printable(f"{place}: {each['message']}"))
        return CommandError("\n".join(lines)) if lines else self


class OperatorDoor:
    """Asks the routes for operators."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what a request answers, from JSON; ``None`` for an empty answer.

        Raises:
            RefusedError: the node refused it; the text says what to do.
            CommandError: the node went away.
        """
        try:
            response = await self._client.request(
                method, path, params=params, json=body, headers=headers
            )
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise CommandError(f"the node does not answer ({name})") from error
        if response.is_success:
            return response.json() if response.content else None
        raise refused(response)


def refused(response: httpx.Response) -> RefusedError:
    """Return why a request was refused; what stands before a node says it otherwise."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": f"{response.url}: {response.status_code}"}
    return RefusedError(problem)


def run_operation(settings: Path, work: Callable[[OperatorDoor], Awaitable[_T]]) -> _T:
    """Run ``work`` with the operator's door of the node with the file ``settings``.

    Where no node runs, an empty database is set up first, as its first start would. What
    goes wrong is said on standard error, and the command exits.
    """

    async def opened() -> _T:
        async with operator_client(node) as client:
            return await work(OperatorDoor(client))

    with command_errors():
        node = load_node(settings)
        return asyncio.run(opened())


def ask_node(
    settings: Path,
    method: str,
    path: str,
    *,
    params: Mapping[str, str | int | bool] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """Return what one request answers at the operator's door of a node.

    As :func:`run_operation` with :meth:`OperatorDoor.ask`.
    """
    return run_operation(
        settings, lambda door: door.ask(method, path, params=params, body=body)
    )


@asynccontextmanager
async def operator_client(node: NodeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client for the operator's routes of ``node``, whether it runs or not.

    Raises:
        CommandError: it runs, and this user may not ask it.
        MailwrightError: its database cannot be opened.
    """
    path = node.state_dir / SOCKET_NAME
    if _is_answered(path):
        with reachable(path) as name:
            transport = httpx.AsyncHTTPTransport(uds=name)
            async with _client(transport) as client:
                yield client
        return
    # Imported where it is needed: a node that runs is asked without all of it.
    at_rest = import_module("mailwright.cli.at_rest")
    async with (
        at_rest.operator_transport(node) as transport,
        _client(transport) as client,
    ):
        yield client


def _client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
    return httpx.AsyncClient(transport=transport, base_url=_ORIGIN, timeout=timeout)


def _is_answered(path: Path) -> bool:
    """Whether a node listens at ``path``.

    Raises:
        CommandError: one does, and this user may not ask it.
    """
    try:
        with (
            reachable(path) as name,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe,
        ):
            probe.settimeout(_CONNECT_S)
            probe.connect(name)
    except PermissionError:
        raise CommandError(
            f"the operator's socket {path} is closed to this user; run this as root or "
            "as the node's user"
        ) from None
    except OSError:
        return False
    return True


def _text_of(problem: Mapping[str, Any]) -> str:
    """Return a problem in lines for people."""
    lines = [str(each["message"]) for each in problem.get("errors", ())]
    text = str(problem.get("detail") or problem.get("title", "refused"))
    return "\n".join(map(printable, lines or [text]))
