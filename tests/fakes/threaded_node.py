"""A whole node in a thread of the test's process, for commands that ask it from outside."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fakes.running_node import RunningNode, message, running_node
from fakes.scripted_receiver import Behaviour
from mailwright.cli.main import command_line

_WAIT_S = 240


@dataclass
class Asked:
    """What a command said."""

    status: int
    out: str
    err: str


class ThreadedNode:
    """Commands and submissions for a node that runs in another thread."""

    def __init__(
        self, folder: Path, node: RunningNode, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.settings = folder / "node.toml"
        self.node = node
        self._loop = loop

    def run(self, *words: str) -> Asked:
        """Run ``mailwright`` with ``words`` and the node's settings."""
        result = CliRunner().invoke(
            command_line([words[0]]),
            [*words, "--settings", str(self.settings)],
        )
        # A bug of ours is not an exit status.
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Asked(result.exit_code, result.stdout, result.stderr)

    def submit(self, *recipients: str, **members: Any) -> str:
        """Hand a message over and return its id."""

        async def post() -> str:
            body = message(*recipients, **members)
            answer = await self.node.http.post("/v1/messages", json=body)
            return answer.raise_for_status().json()["id"]

        return self.await_(post())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` is true; it is asked in this thread."""
        pause = threading.Event()
        for _ in range(_WAIT_S * 20):
            if condition():
                return
            pause.wait(0.05)
        raise AssertionError("it did not come true")

    def await_(self, awaitable: Any) -> Any:
        """Return what ``awaitable`` gives in the node's thread."""
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(_WAIT_S)


@contextmanager
def threaded_node(folder: Path, *behaviours: Behaviour) -> Iterator[ThreadedNode]:
    """Run a node with its files in ``folder`` and the usual receiver."""
    started: list[ThreadedNode] = []
    failed: list[BaseException] = []
    stops: list[Callable[[], None]] = []
    is_up = threading.Event()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with running_node(folder, *behaviours) as node:
            started.append(ThreadedNode(folder, node, loop))
            is_up.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001  raised in the test's thread
            failed.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert is_up.wait(_WAIT_S)
        if started:
            yield started[0]
    finally:
        if thread.is_alive():
            stops[0]()
        thread.join(_WAIT_S)
        if failed:
            raise failed[0]
