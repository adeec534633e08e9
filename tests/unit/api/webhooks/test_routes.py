"""``/v1/webhooks`` on a node that runs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from fakes.hook_receiver import Answer, HookReceiver
from fakes.running_node import DOMAIN, RunningNode, message, running_node

SCOPES = ("send", "control", "read", "manage")
PATH = "/v1/webhooks"
Test = Callable[[RunningNode, HookReceiver], Awaitable[None]]


def drive(folder: Path, test: Test, *answers: Answer) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(100),
            HookReceiver(list(answers)) as hook,
            running_node(folder, scopes=SCOPES) as node,
        ):
            await test(node, hook)

    asyncio.run(run())


async def ok(asked: Awaitable[httpx.Response]) -> dict[str, Any]:
    found: dict[str, Any] = (await asked).raise_for_status().json()
    return found


async def create(node: RunningNode, url: str, **members: Any) -> tuple[str, str]:
    """Make a webhook and return its path and secret."""
    made = await ok(node.http.post(PATH, json={"url": url, **members}))
    return f"{PATH}/{made['webhook']['id']}", made["secret"]


def test_events_arrive_as_they_are_read_and_signed(tmp_path: Path) -> None:
    async def test(node: RunningNode, hook: HookReceiver) -> None:
        path, secret = await create(node, hook.url(), name="crm")
        labels = {"tags": ["spring"], "metadata": {"lead": "42"}}
        await ok(node.http.post("/v1/messages", json=message(f"a@{DOMAIN}", **labels)))
        await hook.wait(lambda: len(hook.events()) == 2)
        for request in hook.requests:
            request.verify(secret)
            assert request.headers["content-type"] == "application/json"
        page = await ok(node.http.get("/v1/events"))
        assert hook.events() == page["events"]
        assert hook.events()[1]["metadata"] == {"lead": "42"}
        async with asyncio.timeout(120):
            while (shown := await ok(node.http.get(path)))["lag"]["events"]:
                await asyncio.sleep(0.02)
        assert shown["lag"]["oldest_at"] is None
        assert secret not in str(shown)
        assert "secret" not in shown
        listed = await ok(node.http.get(PATH))
        assert [each["id"] for each in listed["webhooks"]] == [shown["id"]]
        assert secret not in str(listed)

    drive(tmp_path, test)


def test_a_webhook_is_paused_resumed_tested_replayed_and_deleted(
    tmp_path: Path,
) -> None:
    async def test(node: RunningNode, hook: HookReceiver) -> None:
        path, secret = await create(node, hook.url())
        paused = await ok(node.http.post(f"{path}/pause"))
        assert (paused["state"], paused["reason"]) == ("paused", "by its tenant")
        await ok(node.http.post("/v1/messages", json=message(f"a@{DOMAIN}")))
        await node.wait_events("delivered")
        tested = await ok(node.http.post(f"{path}/test"))
        assert tested == {"is_taken": True, "status": 200, "error": ""}
        [request] = hook.requests
        assert [each["type"] for each in request.events] == ["webhook.test"]
        request.verify(secret)
        assert (await ok(node.http.get(path)))["lag"]["events"] == 2

        await ok(node.http.post(f"{path}/resume"))
        await hook.wait(lambda: len(hook.requests) == 2)
        first = hook.requests[-1]
        assert [each["type"] for each in first.events] == ["received", "delivered"]

        renewed = await ok(node.http.post(f"{path}/secret", json={"keep_old_hours": 0}))
        assert renewed["old_secret_until"] is None
        await ok(node.http.post(f"{path}/replay", json={"after": ""}))
        await hook.wait(lambda: len(hook.requests) == 3)
        again = hook.requests[-1]
        assert (again.ident, again.events) == (first.ident, first.events)
        assert again.is_signed_with(renewed["secret"])
        assert not again.is_signed_with(secret)

        changed = await ok(
            node.http.patch(path, json={"types": ["bounced"], "name": "b"})
        )
        assert (changed["types"], changed["name"]) == (["bounced"], "b")
        assert (await node.http.delete(path)).status_code == 204
        for method, asked in (("GET", path), ("POST", f"{path}/resume")):
            assert (await node.http.request(method, asked)).status_code == 404

    drive(tmp_path, test)


def test_how_it_is_doing_can_be_seen(tmp_path: Path) -> None:
    async def test(node: RunningNode, hook: HookReceiver) -> None:
        path, _ = await create(node, hook.url())
        await ok(node.http.post("/v1/messages", json=message(f"a@{DOMAIN}")))
        await hook.wait(lambda: len(hook.requests) == 1)
        async with asyncio.timeout(120):
            while (shown := await ok(node.http.get(path)))["state"] == "active":
                await asyncio.sleep(0.02)
        assert (shown["state"], shown["failures"]) == ("failing", 1)
        assert (shown["last_status"], shown["last_error"]) == (500, "answered 500")
        assert shown["failing_since"] == shown["last_attempt_at"]
        assert shown["next_attempt_at"] > shown["last_attempt_at"]
        assert shown["lag"]["events"] in {1, 2}
        assert shown["lag"]["oldest_at"] < shown["last_attempt_at"]
        metrics = await node.metrics()
        assert 'mailwright_webhooks{state="failing"} 1.0' in metrics
        assert 'mailwright_webhook_attempts_total{outcome="refused"} 1.0' in metrics
        assert "127.0.0.1:" + str(hook.port) not in metrics

    drive(tmp_path, test, Answer.FAIL)


async def run_campaign(node: RunningNode, name: str, *rows: dict[str, Any]) -> str:
    """Make a campaign, start it, and return its id."""
    body = {
        "name": name,
        "from": "news@example.com",
        "subject": "Hello {{ name }}",
        "text": "Dear {{ name }}\n",
        "tags": [name],
        "metadata": {"season": "spring"},
        "recipients": list(rows),
        "start": True,
    }
    made = await ok(node.http.post("/v1/campaigns", json=body))
    ident: str = made["id"]
    return ident


def row(number: int) -> dict[str, Any]:
    return {
        "email": f"{number}@{DOMAIN}",
        "fields": {"name": f"N{number}"},
        "metadata": {"lead": str(number)},
    }


def test_a_webhook_follows_one_campaign_to_the_last_recipient(tmp_path: Path) -> None:
    async def test(node: RunningNode, hook: HookReceiver) -> None:
        first = await run_campaign(node, "spring", *map(row, range(12)))
        path, secret = await create(node, hook.url(), campaign=first, after="")
        second = await run_campaign(node, "autumn", *map(row, range(3)))
        await ok(node.http.post("/v1/messages", json=message(f"a@{DOMAIN}")))
        await hook.wait(lambda: len(hook.events()) == 24)
        assert {each["campaign"] for each in hook.events()} == {first}
        assert {each["type"] for each in hook.events()} == {"received", "delivered"}
        for event in hook.events():
            lead = event["recipient"].partition("@")[0]
            assert event["metadata"] == {"season": "spring", "lead": lead}
            assert event["tags"] == ["spring"]
        assert all(each.is_signed_with(secret) for each in hook.requests)
        page = await ok(node.http.get("/v1/events", params={"campaign": first}))
        assert page["events"] == hook.events()
        tagged = {"tag": "autumn", "limit": 1000}
        async with asyncio.timeout(60):
            while True:
                page = await ok(node.http.get("/v1/events", params=tagged))
                if len(page["events"]) == 6:
                    break
                await asyncio.sleep(0.05)
        assert {each["campaign"] for each in page["events"]} == {second}
        assert (await ok(node.http.get(path)))["campaign"] == first

    drive(tmp_path, test)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "url"),
    ({"url": "http://hooks.example/#x"}, "url"),
    ({"url": "https://u:p@hooks.example/"}, "url"),
    ({"url": "https://hooks.example/", "types": ["exploded"]}, "types[0]"),
    ({"url": "https://hooks.example/", "campaign": "cmp_1"}, "campaign"),
    ({"url": "https://hooks.example/", "after": "nonsense"}, "after"),
    ({"url": "https://hooks.example/", "secret": "mine"}, "secret"),
]


def test_what_is_not_right_is_named(tmp_path: Path) -> None:
    async def test(node: RunningNode, _: HookReceiver) -> None:
        for body, field in WRONG:
            answer = await node.http.post(PATH, json=body)
            assert answer.status_code == 422
            assert [each["field"] for each in answer.json()["errors"]] == [field]

    drive(tmp_path, test)


def test_bodies_are_bounded_and_what_is_no_json_is_refused(tmp_path: Path) -> None:
    async def test(node: RunningNode, hook: HookReceiver) -> None:
        large = await node.http.post(PATH, content=b'{"url":"' + b"x" * 20_000 + b'"}')
        assert large.status_code == 413
        broken = await node.http.post(PATH, content=b'{"url":')
        assert broken.status_code in {400, 422}
        path, _ = await create(node, hook.url())
        for body in ({}, {"after": "", "since": "2026-03-01T00:00:00Z"}):
            both = await node.http.post(f"{path}/replay", json=body)
            assert both.status_code == 422
        naive = await node.http.post(
            f"{path}/replay", json={"since": "2026-03-01T00:00:00"}
        )
        assert naive.status_code == 422

    drive(tmp_path, test)
