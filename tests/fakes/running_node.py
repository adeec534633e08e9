"""A whole node inside the test's own process and loop, with a receiver to send to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fakes.node_process import API_KEY, Hop, write_node
from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.submitting import SmtpClient
from mailwright.clock import SystemClock
from mailwright.config.loading import load_node
from mailwright.daemon.lifecycle import open_node, run_node
from mailwright.daemon.systemd import Notifier
from mailwright.daemon.wiring import Node
from mailwright.events.following import Filter, read_after
from mailwright.events.log import Event

#: Mail to this domain goes to the receiver.
DOMAIN = "there.example"


@dataclass
class RunningNode:
    """A node that runs, and what to talk to it with."""

    node: Node
    receiver: ScriptedReceiver
    http: httpx.AsyncClient

    async def smtp(self) -> SmtpClient:
        return await SmtpClient.connect(self.node.doors.listeners[0].addresses[0])

    async def metrics(self) -> str:
        answer = await self.http.get("/metrics")
        return answer.raise_for_status().text

    async def events(self) -> Sequence[Event]:
        """Return every event so far, in commit order."""
        store = self.node.state.store
        page = await read_after(store, "", Filter(None), limit=1000, days=store.days())
        return page.events

    async def wait_events(self, *kinds: str) -> Sequence[Event]:
        """Return every event, once there is one of each of ``kinds``."""
        async with asyncio.timeout(120):
            while True:
                found = await self.events()
                if set(kinds) <= {each.type.value for each in found}:
                    return found
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running_node(
    folder: Path,
    *behaviours: Behaviour,
    more: str = "",
    delivery: str = "",
    notifier: Notifier | None = None,
    settings: Path | None = None,
    scopes: Sequence[str] = (),
) -> AsyncIterator[RunningNode]:
    """Write a node's files, unless ``settings`` names them, run it, and stop it."""
    stop = asyncio.Event()
    async with ScriptedReceiver(*behaviours) as receiver:
        if settings is None:
            hop = Hop(DOMAIN, f"127.0.0.1:{receiver.port}", "commands")
            settings = write_node(
                folder, routes=[hop], more=more, delivery=delivery, scopes=scopes
            )
        async with (
            open_node(load_node(settings), SystemClock()) as node,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(run_node(node, stop, notifier))
            try:
                await node.doors.api.wait_started()
                async with _client(node) as http:
                    yield RunningNode(node, receiver, http)
            finally:
                stop.set()


def _client(node: Node) -> httpx.AsyncClient:
    [(host, port)] = node.doors.api.addresses
    return httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=120,
        trust_env=False,
    )


def message(*recipients: str, **members: Any) -> dict[str, Any]:
    """Return a message for ``POST /v1/messages``."""
    return {
        "from": "a@example.com",
        "bcc": [*recipients],
        "subject": "hello",
        "text": "Hello\r\n",
    } | members
