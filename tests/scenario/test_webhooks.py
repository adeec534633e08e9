"""Webhooks of a node as a process, against a receiver that fails and a ``kill -9``."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.hook_receiver import Answer, HookReceiver, Request
from fakes.node_process import API_KEY, Hop, NodeProcess, write_node
from fakes.scripted_receiver import ScriptedReceiver

pytestmark = pytest.mark.scenario

SCOPES = ("send", "control", "read", "manage")
DOMAIN = "there.example"


def client(node: NodeProcess) -> httpx.AsyncClient:
    host, port = node.http
    return httpx.AsyncClient(
        base_url=f"http://{host}:{port}",
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=60,
        trust_env=False,
    )


async def post(http: httpx.AsyncClient, path: str, body: object = None) -> Any:
    answer = await http.post(path, json=body)
    return answer.raise_for_status().json()


async def send(http: httpx.AsyncClient, first: int, count: int) -> None:
    for n in range(first, first + count):
        body = {
            "from": "a@example.com",
            "bcc": [f"{n}@{DOMAIN}", f"{n}b@{DOMAIN}"],
            "subject": "hello",
            "text": "Hello\r\n",
            "metadata": {"n": str(n)},
        }
        await post(http, "/v1/messages", body)


async def log_of(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return all events, as the API tells them."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = await http.get("/v1/events", params={"after": after, "limit": 1000})
        page = answer.raise_for_status().json()
        found += page["events"]
        after = page["next"]
        if not page["more"] and not page["events"]:
            return found


async def wait_log(http: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(90):
        while len(found := await log_of(http)) < count:
            await asyncio.sleep(0.1)
    return found


def written(receiver: ScriptedReceiver, folder: Path) -> Path:
    hop = Hop(DOMAIN, f"127.0.0.1:{receiver.port}", "commands")
    return write_node(folder, routes=[hop], scopes=SCOPES)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in events]


def test_a_node_killed_between_a_2xx_and_its_note_repeats_that_batch_alone(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(110), ScriptedReceiver() as receiver:
            settings = written(receiver, tmp_path)
            victims: list[int] = []

            # Stopped before the answer and killed after it, it cannot have noted it.
            def stop(_: Request) -> None:
                for victim in victims:
                    os.kill(victim, signal.SIGSTOP)

            def kill(_: Request) -> None:
                if victims:
                    os.kill(victims.pop(), signal.SIGKILL)

            async with HookReceiver(on_taking=stop, on_taken=kill) as hook:
                async with NodeProcess(settings) as node:
                    async with client(node) as http:
                        made = await post(http, "/v1/webhooks", {"url": hook.url()})
                        await send(http, 0, 20)
                        await wait_log(http, 80)
                        await hook.wait(lambda: len(hook.events()) == 80)
                        before = len(hook.requests)
                        victims.append(node.pid)
                        await send_until_killed(http)
                    await node.wait()
                killed = hook.requests[-1]
                assert len(hook.requests) == before + 1
                async with NodeProcess(settings) as node, client(node) as http:
                    await send(http, 900, 20)
                    # What was under way when it died goes out again, marked.
                    await wait_settled(http)
                    events = await log_of(http)
                    await hook.wait(lambda: len(hook.events()) >= len(events))
                    assert ids(hook.events()) == ids(events)
                    path = f"/v1/webhooks/{made['webhook']['id']}"
                    shown = (await http.get(path)).raise_for_status().json()
                    assert shown["state"] == "active"
                    assert await node.stop() == 0
                # Only the batch that was taken without a note of it came twice, whole.
                repeats = [each for each in hook.requests if each.ident == killed.ident]
                assert len(repeats) == 2
                assert ids(repeats[0].events) == ids(repeats[1].events)
                assert set(hook.repeated()) == set(ids(killed.events))
                assert all(
                    each.is_signed_with(made["secret"]) for each in hook.requests
                )
                assert made["secret"].removeprefix("whsec_") not in node.text

    asyncio.run(run())


async def send_until_killed(http: httpx.AsyncClient) -> None:
    """Submit until the node is dead."""
    for n in range(100, 900):
        try:
            await send(http, n, 1)
        except httpx.HTTPError:
            return
    raise AssertionError("nobody killed it")


async def wait_settled(http: httpx.AsyncClient) -> None:
    """Return when each delivery that was accepted has come to its end."""
    async with asyncio.timeout(90):
        while True:
            events = await log_of(http)
            accepted = {e["delivery"] for e in events if e["type"] == "received"}
            ended = {e["delivery"] for e in events if e["type"] == "delivered"}
            if accepted == ended:
                return
            await asyncio.sleep(0.1)


def test_a_receiver_that_fails_gets_everything_in_order_and_mail_does_not_wait(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        bad = [Answer.FAIL, Answer.CLOSE, Answer.TAKE_AND_HANG]
        async with (
            asyncio.timeout(110),
            ScriptedReceiver() as receiver,
            HookReceiver(bad) as hook,
            HookReceiver(usual=Answer.HANG) as hanging,
            NodeProcess(written(receiver, tmp_path)) as node,
            client(node) as http,
        ):
            made = await post(http, "/v1/webhooks", {"url": hook.url()})
            slow = await post(http, "/v1/webhooks", {"url": hanging.url()})
            await send(http, 0, 60)
            events = await wait_log(http, 240)
            assert {each["type"] for each in events} == {"received", "delivered"}
            path = f"/v1/webhooks/{made['webhook']['id']}"
            async with asyncio.timeout(90):
                while len(hook.events()) < len(events):
                    await post(http, f"{path}/resume")  # not to wait for its next try
                    await asyncio.sleep(0.2)
            assert ids(hook.events()) == ids(events)
            assert [e["metadata"] for e in hook.events()] == [
                e["metadata"] for e in events
            ]
            assert all(each.is_signed_with(made["secret"]) for each in hook.requests)
            assert len({each.ident for each in hanging.requests}) == 1
            path = f"/v1/webhooks/{slow['webhook']['id']}"
            shown = (await http.get(path)).raise_for_status().json()
            assert shown["lag"]["events"] == len(events)
            assert await node.stop() == 0

    asyncio.run(run())
