"""A campaign of 20 000 is told otherwise while it runs, by HTTP, on a node of its own.

Each change has two seconds to act; then the same span of time that brought mail before
shows whether it does. What was sending goes on over the change: nothing is lost by it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.node_process import API_KEY, Hop, NodeProcess, query, query_days, write_node
from fakes.scripted_receiver import ScriptedReceiver
from mailwright.events.types import EventType
from mailwright.queue.delivery import State

pytestmark = pytest.mark.scenario

COUNT = 20_000
#: What the contract gives a change to act in.
ACTS_S = 2.0
#: For conditions, on a machine that is busy with other things.
WITHIN_S = 60.0
_OTHER_POOL = """
[[source]]
name = "other"
address = "127.0.0.2"
ehlo_name = "mta2.example.com"

[[pool]]
name = "other"
sources = { other = 1 }
"""


@asynccontextmanager
async def client_of(node: NodeProcess) -> AsyncIterator[httpx.AsyncClient]:
    host, port = node.http
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=120,
        trust_env=False,
    ) as client:
        yield client


async def call(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
    answer = await client.request(method, path, **more)
    assert answer.is_success, answer.text
    return answer.json()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.02)


async def arrivals(receiver: ScriptedReceiver, span_s: float) -> int:
    """Return how many messages arrive in the next ``span_s``."""
    before = len(receiver.contents)
    await asyncio.sleep(span_s)
    return len(receiver.contents) - before


async def started(client: httpx.AsyncClient) -> str:
    """Return the path of a campaign of :data:`COUNT` that leaves ten a second."""
    made = await call(
        client,
        "POST",
        "/v1/campaigns",
        json={
            "name": "spring",
            "from": "news@example.com",
            "subject": "Hello {{ name }}",
            "text": "Dear {{ name }}",
            "pace": "36000/h",
        },
    )
    path = f"/v1/campaigns/{made['id']}"
    rows = "".join(
        json.dumps({"email": f"u{n}@a.example", "fields": {"name": f"N{n}"}}) + "\n"
        for n in range(COUNT)
    )
    await call(
        client,
        "PUT",
        f"{path}/recipients?key=all",
        content=rows.encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    await call(client, "POST", f"{path}/start")
    return path


def shut() -> dict[str, Any]:
    """Return a window that opens in two hours."""
    opens = datetime.now(UTC) + timedelta(hours=2)
    closes = opens + timedelta(hours=1)
    return {
        "timezone": "UTC",
        "ranges": [{"from": f"{opens:%H:%M}", "to": f"{closes:%H:%M}"}],
    }


def by_source(settings: Path) -> Counter[int]:
    """Return how many have been delivered, by source."""
    rows = query_days(settings, "finished", "source, state")
    return Counter(source for source, state in rows if state == State.DELIVERED)


async def control(
    client: httpx.AsyncClient, path: str, receiver: ScriptedReceiver, settings: Path
) -> None:
    """Pause, pace, move and shut it, and see what each does."""
    await until(lambda: len(receiver.contents) >= 5)
    paced = await arrivals(receiver, 2.0)
    assert 5 <= paced <= 60, "ten a second were asked for"

    await call(client, "POST", f"{path}/pause")
    await asyncio.sleep(ACTS_S)
    assert await arrivals(receiver, 2.0) == 0
    assert (await call(client, "GET", path))["state"] == "paused"
    await call(client, "POST", f"{path}/resume")

    await call(client, "PATCH", path, json={"pace": "360000/h"})
    await asyncio.sleep(ACTS_S)
    assert await arrivals(receiver, 2.0) > 2 * max(paced, 20)

    await call(client, "PATCH", path, json={"pool": "other"})
    await asyncio.sleep(ACTS_S)
    before = by_source(settings)
    await until(lambda: sum(by_source(settings).values()) > sum(before.values()) + 50)
    after = by_source(settings)
    grown = {source for source in after if after[source] > before[source]}
    (other,) = query(settings, "SELECT id FROM sources WHERE name = 'other'")[0]
    assert grown == {other}
    assert receiver.peers[-1] == "127.0.0.2"

    await call(client, "PATCH", path, json={"window": shut()})
    await asyncio.sleep(ACTS_S)
    assert await arrivals(receiver, 2.0) == 0
    await call(client, "PATCH", path, json={"window": None})
    seen = len(receiver.contents)
    await until(lambda: len(receiver.contents) > seen)


async def cancelled(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Cancel it and return how it is shown when nothing of it is left."""
    await call(client, "POST", f"{path}/cancel")
    async with asyncio.timeout(WITHIN_S):
        while True:
            shown: dict[str, Any] = await call(client, "GET", path)
            left = shown["deliveries"]
            if not left.get("queued") and not left.get("sending"):
                return shown
            await asyncio.sleep(0.1)


@pytest.mark.timeout(400)
def test_what_is_said_of_a_running_campaign_acts_within_two_seconds(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with ScriptedReceiver() as receiver:
            hop = Hop("a.example", f"127.0.0.1:{receiver.port}", "commands")
            scopes = ("send", "control", "read")
            settings = write_node(tmp_path, routes=[hop], scopes=scopes)
            with (tmp_path / "setup.toml").open("a") as setup:
                setup.write(_OTHER_POOL)
            node = NodeProcess(settings)
            async with node, client_of(node) as client:
                path = await started(client)
                await control(client, path, receiver, settings)
            seen = len(receiver.contents)
            node = NodeProcess(settings)  # the first was killed
            async with node, client_of(node) as client:
                await until(lambda: len(receiver.contents) > seen)
                shown = await cancelled(client, path)
                assert shown["state"] == "cancelled"
                ended = shown["deliveries"]
                assert sum(ended.values()) == COUNT
                assert ended["cancelled"] > COUNT / 2
                told = query_days(settings, "events", "type")
                kinds = Counter(EventType(kind) for (kind,) in told)
                assert kinds[EventType.CANCELLED] == ended["cancelled"]
                assert kinds[EventType.DELIVERED] == ended["delivered"]
                assert await arrivals(receiver, 1.0) == 0

    asyncio.run(main())
