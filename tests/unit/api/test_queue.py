"""The queue's routes over a real queue: names, dry runs, tenants, explanations."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from fakes.queueing import (
    POOL,
    SOURCE,
    Queue,
    make_directory,
    make_submission,
    open_queue,
)
from mailwright.accounts.directory import Pool, Stream, StreamClass, Tenant
from mailwright.api.lanes import lanes_router
from mailwright.api.operating import Operator
from mailwright.api.operations import queue_router
from mailwright.api.ports import QueueDoor
from mailwright.api.problems import add_handlers
from mailwright.api.queue_view import Asking
from mailwright.ids import CampaignId, PoolId, StreamId, TenantId
from mailwright.queue.selection import Selection
from mailwright.reply import Phase, local_reply

OURS, THEIRS = TenantId(1), TenantId(2)
OPERATOR = Asking("cli:test")
MANAGER = Asking("api:crm", OURS)


@dataclass
class Rig:
    """The routes for one asker, over a queue that does not run."""

    queue: Queue
    client: httpx.AsyncClient

    async def post(self, name: str, **body: object) -> httpx.Response:
        return await self.client.post(f"/v1/queue/{name}", json=body)


def directory():
    streams = [
        Stream(StreamId(1), OURS, "news", StreamClass.BULK, POOL),
        Stream(StreamId(2), THEIRS, "news", StreamClass.BULK, POOL),
    ]
    other = Pool(PoolId(2), "other", ((SOURCE, 1),))
    made = make_directory()
    return replace(
        made,
        tenants={OURS: Tenant(OURS, "ours"), THEIRS: Tenant(THEIRS, "theirs")},
        streams={each.id: each for each in streams},
        pools={**made.pools, other.id: other},
        pools_by_name={**made.pools_by_name, "other": other},
    )


def drive(folder: Path, asking: Asking, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def asks() -> Asking:
        return asking

    async def operator() -> Operator:
        return Operator(asking.author)

    async def scenario() -> None:
        shared = directory()
        async with asyncio.timeout(120), open_queue(folder, directory=shared) as queue:
            for tenant in (OURS, THEIRS):
                await queue.intake.accept(
                    make_submission(
                        f"a{tenant}@x.example",
                        f"b{tenant}@y.example",
                        tenant=tenant,
                        stream=StreamId(tenant),
                    )
                )
            door = QueueDoor(queue.operations, lambda: shared, queue.store, queue.clock)
            app = FastAPI()
            add_handlers(app)
            app.include_router(queue_router(door, asks))
            app.include_router(lanes_router(door, operator))
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://node"
            ) as client:
                await test(Rig(queue, client))

    asyncio.run(scenario())


@pytest.mark.parametrize("asking", [OPERATOR, MANAGER], ids=["operator", "manager"])
@pytest.mark.parametrize("name", ["hold", "release", "retry", "cancel", "move"])
def test_an_empty_selection_is_refused(
    tmp_path: Path, asking: Asking, name: str
) -> None:
    async def test(rig: Rig) -> None:
        more = {"hold": {"reason": "x"}, "cancel": {"reason": "x"}}
        more["move"] = {"to_pool": "other"}
        response = await rig.post(name, selection={}, **more.get(name, {}))
        refused = 403 if name == "move" and asking is MANAGER else 422
        assert response.status_code == refused
        assert not any(line.is_held for line in rig.queue.book)

    drive(tmp_path, asking, test)


@pytest.mark.parametrize(
    "selection",
    [
        {"domain": "x.example"},
        {"tenant": "theirs"},
        {"pool": "default"},
        {"provider": "default"},
        {"tenant": "theirs", "stream": "news", "domain": "X.example"},
    ],
    ids=str,
)
def test_a_dry_run_counts_what_the_operation_is_for(
    tmp_path: Path, selection: dict[str, str]
) -> None:
    async def test(rig: Rig) -> None:
        body = {"selection": selection, "reason": "x"}
        dry = (await rig.post("hold", **body, dry_run=True)).json()
        assert not any(line.is_held for line in rig.queue.book)
        real = (await rig.post("hold", **body)).json()
        held = [line for line in rig.queue.book if line.is_held]
        assert dry["lines"] == real["lines"] == len(held) > 0
        assert dry["deliveries"] == real["deliveries"] == sum(x.count for x in held)

    drive(tmp_path, OPERATOR, test)


def test_a_tenants_key_operates_its_own_mail_only(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        theirs = next(x for x in rig.queue.book if x.key.tenant == THEIRS)
        found = (await rig.client.get("/v1/queue/lines")).json()["lines"]
        assert {each["tenant"] for each in found} == {"ours"}
        summary = (await rig.client.get("/v1/queue?by=tenant")).json()
        assert [each["name"] for each in summary["groups"]] == ["ours"]
        assert summary["total"]["deliveries"] == 2

        everyone = {"domain": "x.example"}
        extent = (await rig.post("cancel", selection=everyone, reason="x")).json()
        assert extent["deliveries"] == 1
        by_line = await rig.post("retry", selection={"line": str(theirs.id)})
        assert by_line.json()["lines"] == 0
        by_name = await rig.post("retry", selection={"tenant": "theirs"})
        assert by_name.status_code == 422
        assert {line.key.tenant for line in rig.queue.book if line.is_held} == {OURS}

    drive(tmp_path, MANAGER, test)


def test_a_tenants_key_neither_sees_nor_ends_an_operators_hold(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        extent = await rig.queue.operations.hold(
            Selection(domain="x.example"), reason="x", author="cli:root"
        )
        assert (await rig.client.get("/v1/holds")).json() == []
        response = await rig.post("release", hold=str(extent.hold))
        assert response.status_code == 404
        assert len(rig.queue.operations.holds) == 1

    drive(tmp_path, MANAGER, test)


def test_a_hold_says_who_why_and_until_when(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        made = await rig.post(
            "hold",
            selection={"tenant": "ours", "domain": "x.example"},
            reason="their request",
            ends_at="2099-01-01T00:00:00Z",
        )
        (hold,) = (await rig.client.get("/v1/holds")).json()
        assert hold["id"] == made.json()["hold"]
        assert hold["selection"] == {"tenant": "ours", "domain": "x.example"}
        explained = await rig.client.get("/v1/explain?what=someone@x.example")
        blocked = [
            each["line"]["blocked"]
            for each in explained.json()["lines"]
            if each["line"]["tenant"] == "ours"
        ]
        assert blocked == [
            {
                "by": "hold",
                "reason": "held by cli:test: their request",
                "until": "2099-01-01T00:00:00Z",
            }
        ]
        assert (await rig.post("release", hold=hold["id"])).status_code == 200
        assert (await rig.client.get("/v1/holds")).json() == []

    drive(tmp_path, OPERATOR, test)


def test_an_explanation_shows_the_way_and_its_limits(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        found = (await rig.client.get("/v1/explain?what=x.example")).json()
        assert found["path"]["hosts"] == ["mx.x.example:25"]
        assert {"level": "source and site", "limit": "3 connections"} in (
            found["path"]["limits"]
        )
        assert len(found["lines"]) == 2
        dead = local_reply(556, "5.1.10", "the domain takes no mail", Phase.CONNECT)
        rig.queue.router.answers["dead.example"] = dead
        found = (await rig.client.get("/v1/explain?what=dead.example")).json()
        assert "takes no mail" in found["path"]["refused"]

    drive(tmp_path, OPERATOR, test)


def test_a_message_is_shown_with_its_deliveries_and_cancelled(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        accepted = await rig.queue.intake.accept(make_submission("c@x.example"))
        (shown,) = (await rig.client.get(f"/v1/queue/{accepted.message}")).json()
        assert (shown["recipient"], shown["state"]) == ("c@x.example", "queued")
        selection = {"id": shown["id"]}
        done = await rig.post("cancel", selection=selection, reason="x")
        assert done.json()["deliveries"] == 1
        gone = await rig.client.get(f"/v1/queue/{accepted.message}")
        assert gone.status_code == 404
        nonsense = await rig.post("cancel", selection={"id": "junk"}, reason="x")
        assert nonsense.json()["deliveries"] == 0

    drive(tmp_path, OPERATOR, test)


def test_what_leaves_next_is_listed_line_by_line(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        found = (await rig.client.get("/v1/queue/deliveries?domain=x.example")).json()
        assert {each["recipient"] for each in found} == {"a1@x.example", "a2@x.example"}
        two = "/v1/queue/deliveries?pool=default&limit=2"
        assert len((await rig.client.get(two)).json()) == 2
        empty = await rig.client.get("/v1/queue/deliveries")
        assert empty.status_code == 422

    drive(tmp_path, OPERATOR, test)


def test_a_tenants_key_lists_its_own_deliveries_only(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        for question in ("domain=x.example", "pool=default", "provider=default"):
            path = f"/v1/queue/deliveries?{question}"
            found = (await rig.client.get(path)).json()
            assert found
            assert {each["line"]["tenant"] for each in found} == {"ours"}

    drive(tmp_path, MANAGER, test)


def test_lines_and_sums_of_a_campaign_are_chosen_by_its_id(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        line = next(iter(rig.queue.book))
        line.key = replace(line.key, campaign=CampaignId(7))
        found = (await rig.client.get("/v1/queue/lines?campaign=7")).json()["lines"]
        assert [(each["id"], each["campaign"]) for each in found] == [
            (str(line.id), "7")
        ]
        groups = (await rig.client.get("/v1/queue?by=campaign")).json()["groups"]
        assert {each["name"]: each["lines"] for each in groups} == {"7": 1, "none": 3}
        await rig.post("hold", selection={"campaign": "7"}, reason="x")
        assert [each.id for each in rig.queue.book if each.is_held] == [line.id]

    drive(tmp_path, OPERATOR, test)


@pytest.mark.parametrize("asking", [OPERATOR, MANAGER], ids=["operator", "manager"])
def test_one_message_is_held_by_its_id(tmp_path: Path, asking: Asking) -> None:
    async def test(rig: Rig) -> None:
        accepted = await rig.queue.intake.accept(make_submission("c@x.example"))
        ident = accepted.message
        held = await rig.post("hold", selection={"id": ident}, reason="x")
        assert (held.json()["lines"], held.json()["deliveries"]) == (1, 1)
        (hold,) = (await rig.client.get("/v1/holds")).json()
        assert hold["selection"]["message"] == ident
        (shown,) = (await rig.client.get(f"/v1/queue/{ident}")).json()
        assert shown["message"] == ident
        assert shown["line"]["blocked"]["by"] == "hold"
        lines = await rig.client.get(f"/v1/queue/lines?id={ident}")
        assert [each["id"] for each in lines.json()["lines"]] == [shown["line"]["id"]]
        assert sum(line.is_held for line in rig.queue.book) == 1
        released = await rig.post("release", selection={"id": ident})
        assert [each["id"] for each in released.json()["holds"]] == [hold["id"]]

    drive(tmp_path, asking, test)


def test_a_tenants_key_holds_no_message_of_another(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        theirs = await rig.queue.intake.accept(
            make_submission("c@x.example", tenant=THEIRS)
        )
        selection = {"id": theirs.message}
        held = await rig.post("hold", selection=selection, reason="x")
        nothing = await rig.post("hold", selection={"id": "junk"}, reason="x")
        assert held.json() == nothing.json()
        assert held.json()["hold"] is None
        assert len(rig.queue.operations.holds) == 0

    drive(tmp_path, MANAGER, test)


def test_a_tenant_sees_an_operators_hold_that_names_it_and_cannot_end_it(
    tmp_path: Path,
) -> None:
    async def test(rig: Rig) -> None:
        made = await rig.queue.operations.hold(
            Selection(tenant=OURS), reason="unpaid", author="cli:root"
        )
        (hold,) = (await rig.client.get("/v1/holds")).json()
        assert (hold["reason"], hold["author"]) == ("unpaid", "the operator")
        by_id = await rig.post("release", hold=str(made.hold))
        assert by_id.status_code == 404
        by_name = await rig.post("release", selection={"tenant": "ours"})
        assert by_name.json()["holds"] == []
        assert all(x.is_held for x in rig.queue.book if x.key.tenant == OURS)

    drive(tmp_path, MANAGER, test)


def test_lanes_say_what_their_limits_allow(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            rig.queue.courier.unreachable["x.example"] = local_reply(
                421, "4.4.1", "no answer", Phase.CONNECT
            )
            tasks.create_task(rig.queue.scheduler.run())
            async with asyncio.timeout(120):
                while not (lanes := (await rig.client.get("/v1/lanes")).json()):
                    await asyncio.sleep(0)
            rig.queue.scheduler.stop()
        assert {each["provider"] for each in lanes} == {"default"}
        assert lanes[0]["connections_most"] == 3
        assert lanes[0]["ceiling_per_hour"] is None

    drive(tmp_path, OPERATOR, test)
