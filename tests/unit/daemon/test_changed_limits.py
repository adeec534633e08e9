"""Limits changed on a node that runs act within seconds on mail that waits for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.running_node import DOMAIN, RunningNode, message, running_node
from mailwright.api.server import reachable
from mailwright.daemon import operating
from mailwright.daemon.operating import SOCKET_NAME
from mailwright.daemon.redirection import Redirection
from mailwright.queue.scheduler import Scheduler


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a node see at once what it sees within seconds."""
    monkeypatch.setattr(operating, "LOOK_S", 0.1)


@asynccontextmanager
async def operator(running: RunningNode) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client at the operator's door."""
    with reachable(running.node.settings.state_dir / SOCKET_NAME) as name:
        transport = httpx.AsyncHTTPTransport(uds=name)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node", timeout=120
        ) as client:
            yield client


async def put(client: httpx.AsyncClient, **tables: Any) -> Mapping[str, Any]:
    """Replace tables of the shared settings."""
    document = (await client.get("/v1/settings")).json()
    answer = await client.put("/v1/settings", json={"settings": document | tables})
    assert answer.status_code == 200, answer.text
    applied: Mapping[str, Any] = answer.json()
    return applied


async def delivered(running: RunningNode) -> int:
    return sum(each.type == "delivered" for each in await running.events())


async def wait_delivered(running: RunningNode, count: int) -> None:
    """Return when so many were delivered."""
    async with asyncio.timeout(120):
        while await delivered(running) < count:
            await asyncio.sleep(0.02)


async def waits_for(running: RunningNode, ident: str, reason: str) -> None:
    async with asyncio.timeout(120):
        while True:
            shown = (await running.http.get(f"/v1/messages/{ident}")).json()
            reasons = [each["waiting_for"] or "" for each in shown["deliveries"]]
            if any(reason in each for each in reasons):
                return
            await asyncio.sleep(0.05)


CHANGES = {
    "a rate of a provider": (
        {"throttle": [{"limit": "1/h", "per": ["provider"]}]},
        {"throttle": [{"limit": "100/s", "per": ["provider"]}]},
        "throttle 1/h of provider",
        ("each provider", "1/h"),
    ),
    "a rate of a stream": (
        {
            "throttle": [
                {"name": "n", "limit": "1/h", "tenant": "acme", "stream": "news"}
            ]
        },
        {"throttle": []},
        "throttle n (1/h) of this tenant, this stream",
        ("tenant acme, stream news", "n: 1/h"),
    ),
    "an allowance per day": (
        {"throttle": [{"limit": "1/day", "source": "main"}]},
        {"throttle": [{"limit": "9/day", "source": "main"}]},
        "allowance 1/day of source main",
        ("source main", "1/day"),
    ),
    "a profile": (
        {
            "provider": [
                {"name": "default", "per_source_and_site": {"throttles": ["1/h"]}}
            ]
        },
        {"provider": []},
        "throttle 1/h of source main, site",
        ("source and site", "1/h"),
    ),
}


@pytest.mark.parametrize(
    ("first", "then", "reason", "shown"), CHANGES.values(), ids=CHANGES.keys()
)
def test_a_change_of_limits_acts_on_what_waits(
    tmp_path: Path,
    first: dict[str, Any],
    then: dict[str, Any],
    reason: str,
    shown: tuple[str, str],
) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path) as running, operator(running) as client:
            await put(client, **first)
            await seen(running)
            sent = await running.http.post(
                "/v1/messages", json=message(*(f"{n}@{DOMAIN}" for n in range(3)))
            )
            assert sent.status_code == 201, sent.text
            await wait_delivered(running, 1)
            await waits_for(running, sent.json()["id"], reason)
            assert await delivered(running) == 1
            why = await client.get("/v1/explain", params={"what": DOMAIN})
            limits = why.json()["path"]["limits"]
            assert shown in {(each["level"], each["limit"]) for each in limits}

            await put(client, **then)
            # At the old limits it would be an hour, or tomorrow.
            await wait_delivered(running, 3)

    asyncio.run(scenario())


async def seen(running: RunningNode) -> None:
    """Wait until the node has looked at the settings in force."""
    redirection = running.node.operating._redirection
    async with asyncio.timeout(120):
        version = running.node.state.settings.directory().version
        while redirection._known.version != version:
            await asyncio.sleep(0.02)


def test_without_asking_again_it_would_not_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: who waits would wait until the time that it was told."""
    first, then, reason, _ = CHANGES["a rate of a provider"]
    looks = 0

    async def nobody_asks(_self: Scheduler) -> None:
        pass

    def counted(look: Callable[[Redirection], Any]) -> Callable[[Redirection], Any]:
        async def looking(self: Redirection) -> None:
            nonlocal looks
            await look(self)
            looks += 1

        return looking

    monkeypatch.setattr(Scheduler, "reconsider", nobody_asks)
    monkeypatch.setattr(Redirection, "look", counted(Redirection.look))

    async def scenario() -> None:
        async with running_node(tmp_path) as running, operator(running) as client:
            await put(client, **first)
            sent = await running.http.post(
                "/v1/messages", json=message(*(f"{n}@{DOMAIN}" for n in range(3)))
            )
            await wait_delivered(running, 1)
            await waits_for(running, sent.json()["id"], reason)
            await put(client, **then)
            enough = looks + 20  # one is enough for the others
            async with asyncio.timeout(120):
                while looks < enough:
                    await asyncio.sleep(0.05)
            assert await delivered(running) == 1

    asyncio.run(scenario())
