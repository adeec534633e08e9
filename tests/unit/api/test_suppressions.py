"""``/v1/suppressions`` on a whole node: answers, refusals, and what they do to mail."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.two_tenants import Ask, World, message, two_tenants

pytestmark = pytest.mark.slow

PATH = "/v1/suppressions"
EVE = "eve@elsewhere.example"


def drive(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with two_tenants(folder) as world:
            await test(world)

    asyncio.run(run())


async def post(world: World, by: str = "ours-manager", **body: Any) -> Any:
    answer = await world.ask(Ask("POST", PATH, json={"addresses": [EVE], **body}), by)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(world: World, path: str, by: str = "ours-manager", **params: str) -> Any:
    answer = await world.ask(Ask("GET", path, params), by)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def state_of_mail(world: World, side: Any, **members: str) -> str:
    ask = Ask("POST", "/v1/messages", json=message(side, EVE, **members))
    answer = (await world.ask(ask, f"{side.tenant}-crm")).json()
    return answer["recipients"][0]["state"]


def test_a_suppressed_address_gets_no_mail_until_it_is_removed(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await state_of_mail(world, world.ours) == "queued"
        added = await post(world, note="asked by telephone")
        assert added == {"added": 1, "kept": 0, "invalid": []}
        assert await state_of_mail(world, world.ours) == "suppressed"
        assert await state_of_mail(world, world.rival) == "queued"

        checked = await get(world, f"{PATH}/EVE@Elsewhere.example")
        assert checked["email"] == EVE
        (one,) = checked["suppressions"]
        assert (one["tenant"], one["stream"], one["reason"]) == ("ours", None, "manual")
        assert (one["note"], one["author"]) == (
            "asked by telephone",
            "api:ours-manager",
        )
        assert EVE not in str(await get(world, PATH))

        gone = await world.ask(Ask("DELETE", f"{PATH}/{EVE}"), "ours-manager")
        assert gone.json() == {"email": EVE, "removed": True, "suppressions": []}
        again = await world.ask(Ask("DELETE", f"{PATH}/{EVE}"), "ours-manager")
        assert (again.status_code, again.json()["removed"]) == (200, False)
        assert await state_of_mail(world, world.ours) == "queued"

    drive(tmp_path, test)


def test_one_stream_is_left_and_the_other_goes_on(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await post(world, stream="news", reason="unsubscribe")
        assert await state_of_mail(world, world.ours) == "suppressed"
        other = {"stream": world.ours["stream"]}
        assert await state_of_mail(world, world.ours, **other) == "queued"
        whole = await world.ask(Ask("DELETE", f"{PATH}/{EVE}"), "ours-manager")
        assert whole.json()["removed"] is False
        assert [each["stream"] for each in whole.json()["suppressions"]] == ["news"]
        ask = Ask("DELETE", f"{PATH}/{EVE}", {"stream": "news"})
        assert (await world.ask(ask, "ours-manager")).json()["removed"] is True
        assert await state_of_mail(world, world.ours) == "queued"

    drive(tmp_path, test)


def test_a_bad_address_does_not_spoil_the_rest(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        some = [
            "a@x.example",
            "no address",
            " b@x.example ",
            "A@x.example",
            "c@[1.2.3.4]",
        ]
        added = await post(world, addresses=some, reason="import")
        assert (added["added"], added["kept"]) == (2, 1)
        assert [each["index"] for each in added["invalid"]] == [1, 4]
        assert "no address" not in str(added)
        many = [f"u{number}@x.example" for number in range(3000)]
        assert (await post(world, addresses=many))["added"] == 3000
        assert (await post(world, addresses=many))["kept"] == 3000

    drive(tmp_path, test)


def test_the_list_has_pages(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await post(world, addresses=[f"u{number}@x.example" for number in range(5)])
        seen, after = [], ""
        while True:
            page = await get(world, PATH, limit="2", after=after, reason="manual")
            seen += [each["subject"] for each in page["suppressions"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert len(seen) == len(set(seen)) == 5
        for cursor in ("x", "A" * 43 + "=", "!" * 43):
            answer = await world.ask(Ask("GET", PATH, {"after": cursor}), "ours-crm")
            assert (answer.status_code, "after" in answer.text) == (422, True)

    drive(tmp_path, test)


def test_everyones_are_the_operators(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        own = await post(world, world.operator, everyone=True, note="court order")
        assert own["added"] == 1
        for side in (world.ours, world.rival):
            assert await state_of_mail(world, side) == "suppressed"
        (seen,) = (await get(world, f"{PATH}/{EVE}"))["suppressions"]
        assert (seen["tenant"], seen["author"], seen["note"]) == (
            None,
            "the operator",
            "",
        )
        (told,) = (await get(world, f"{PATH}/{EVE}", world.operator))["suppressions"]
        assert told["note"] == "court order"
        delete = Ask("DELETE", f"{PATH}/{EVE}", {"everyone": "true"})
        assert (await world.ask(delete, "ours-crm")).status_code == 403
        not_mine = Ask("POST", PATH, json={"addresses": [EVE], "everyone": True})
        assert (await world.ask(not_mine, "ours-crm")).status_code == 403
        assert (await world.ask(delete, world.operator)).json()["removed"] is True
        assert await state_of_mail(world, world.ours) == "queued"

    drive(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"addresses": []}, 422, "addresses"),
        ({"addresses": ["a@b.example"] * 10_001}, 422, "addresses"),
        ({"reason": "because"}, 422, "reason"),
        ({"stream": "none"}, 422, "stream"),
        ({"tenant": "rival"}, 422, "tenant"),
        ({"ends_at": "2026-03-01T12:00:00"}, 422, "ends_at"),
        ({"extra": 1}, 422, "extra"),
    ],
    ids=str,
)
def test_what_is_not_right_is_said(
    tmp_path: Path, body: dict[str, Any], status: int, field: str
) -> None:
    async def test(world: World) -> None:
        ask = Ask("POST", PATH, json={"addresses": [EVE], **body})
        answer = await world.ask(ask, "ours-manager")
        assert answer.status_code == status
        assert [each["field"] for each in answer.json()["errors"]] == [field]

    drive(tmp_path, test)


def test_an_operator_has_to_say_whose(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        ask = Ask("POST", PATH, json={"addresses": [EVE]})
        answer = await world.ask(ask, world.operator)
        assert (answer.status_code, "tenant" in answer.text) == (422, True)
        both = Ask(
            "POST", PATH, json={"addresses": [EVE], "everyone": True, "tenant": "ours"}
        )
        assert (await world.ask(both, world.operator)).status_code == 422
        assert (await post(world, world.operator, tenant="ours"))["added"] == 1
        no_json = Ask("POST", PATH, content=b"{")
        assert (await world.ask(no_json, world.operator)).status_code == 400

    drive(tmp_path, test)
