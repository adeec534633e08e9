"""Creating campaigns: every mistake at once, once if repeated, by the rules of messages."""

from pathlib import Path
from typing import Any

import pytest

from fakes.campaign_rig import PATH, Rig, campaign, drive
from mailwright.accounts.quota import Limits

KEYED = {"Idempotency_Key": "k1"}
HOURS = [{"from": "09:00", "to": "18:00"}]


def test_a_campaign_is_shown_as_it_was_asked_for(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.post(
            PATH,
            campaign(
                pace="500/h",
                priority=2,
                window={"timezone": "Europe/Berlin", "ranges": HOURS},
                tags=["spring"],
                metadata={"crm": "17"},
                send_at="2026-03-02T09:00:00Z",
                expires_at="2026-03-05T09:00:00Z",
                thresholds={},
                utm={"utm_source": "news"},
                defaults={"name": "friend"},
            ),
        )
        assert answer.status_code == 201, answer.text
        shown = answer.json()
        assert answer.headers["Location"] == f"{PATH}/{shown['id']}"
        assert shown["state"] == "draft"
        assert shown["stream"] == "news"
        assert (shown["pace"], shown["priority"]) == ("500/h", 2)
        assert shown["window"]["timezone"] == "Europe/Berlin"
        assert shown["asked"]["from"] == {"name": "Shop", "address": "news@example.com"}
        assert shown["asked"]["subject"] == "Hello {{ name }}"
        assert shown["send_at"] == "2026-03-02T09:00:00Z"
        again = await rig.get(f"{PATH}/{shown['id']}")
        assert again.json() == shown

    drive(tmp_path, test)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"from": "nobody"}, "from.address"),
        ({"from": "a@theirs.example"}, "from"),
        ({"from": "a@keyless.example"}, "from"),
        ({"stream": "nope"}, "stream"),
        ({"stream": "foreign"}, "stream"),
        ({"pool": "nope"}, "pool"),
        ({"pace": "500"}, "pace"),
        ({"pace": "0/h"}, "pace"),
        ({"priority": 8}, "priority"),
        ({"send_at": "tomorrow"}, "send_at"),
        ({"send_at": "2026-05-01T00:00:00Z"}, "send_at"),
        ({"expires_at": "2026-02-01T00:00:00Z"}, "expires_at"),
        ({"window": {"ranges": []}}, "window.ranges"),
        ({"window": {"timezone": "Moon", "ranges": HOURS}}, "window.timezone"),
        ({"html": None}, "html"),
        ({"subject": None}, "subject"),
        ({"headers": {"Subject": "x"}}, "headers.Subject"),
        ({"reply_to": ["x"]}, "reply_to[0].address"),
        ({"seeds": [{"email": "x", "every": 3}]}, "seeds[0].email"),
        ({"seeds": [{"email": "a@b.example"}]}, "seeds[0]"),
        ({"list_url": "ftp://a.example/x"}, "list_url"),
        ({"template": {"name": "nope"}}, "template"),
        ({"thresholds": {"after": 0}}, "thresholds.after"),
        ({"thresholds": {"luck": 0.5}}, "thresholds.luck"),
        ({"tags": [","]}, "tags"),
        ({"colour": "red"}, "colour"),
        ({"recipients": [{"email": "a@b.example", "x": 1}]}, "recipients[0].x"),
    ],
)
def test_a_mistake_is_told_with_its_field(
    tmp_path: Path, members: dict[str, Any], path: str
) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.post(PATH, campaign(**members))
        assert answer.status_code == 422, answer.text
        assert path in [error["field"] for error in answer.json()["errors"]]
        assert (await rig.get(PATH)).json()["campaigns"] == []

    drive(tmp_path, test)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        wrong = {"from": "x", "pace": "fast", "send_at": "y", "attachments": [{}]}
        answer = await rig.post(PATH, campaign(**wrong | {"attachments": []}))
        told = [error["field"] for error in answer.json()["errors"]]
        assert sorted(told) == ["from.address", "pace", "send_at"]

    drive(tmp_path, test)


def test_a_broken_template_is_told_with_its_line(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.post(PATH, campaign(html="<p>\n{% if x %}\n</p>"))
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "html"
        assert error["line"] >= 2
        assert error["message"]

    drive(tmp_path, test)


def test_scopes_are_those_of_messages(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        refused = await rig.post(PATH, campaign(), by="sender")
        assert refused.status_code == 403, "another stream needs control"
        allowed = await rig.post(PATH, campaign(stream="receipts"), by="sender")
        assert allowed.status_code == 201
        assert (await rig.post(PATH, campaign(), by="reader")).status_code == 403

    drive(tmp_path, test)


def test_a_repeated_create_is_one_campaign(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        first = await rig.post(PATH, campaign(), **KEYED)
        again = await rig.post(PATH, campaign(), **KEYED)
        assert first.content == again.content
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len((await rig.get(PATH)).json()["campaigns"]) == 1
        other = await rig.post(PATH, campaign(name="other"), **KEYED)
        assert other.json()["type"] == "/docs#key-reused"

    drive(tmp_path, test)


def test_inline_rows_are_staged_and_the_campaign_started(tmp_path: Path) -> None:
    rows = [{"email": "a@b.example", "fields": {"name": "A"}}, {"email": "bad"}]

    async def test(rig: Rig) -> None:
        body = campaign(recipients=rows, start=True)
        answer = await rig.post(PATH, body, **KEYED)
        ident = answer.json()["id"]
        chunks = (await rig.get(f"{PATH}/{ident}/chunks")).json()["chunks"]
        assert chunks == [
            {"key": "inline", "rows": 2, "staged": 1, "invalid": 1, "finished": True}
        ]
        assert (await rig.get(f"{PATH}/{ident}")).json()["state"] == "sealing"
        assert len(rig.campaigns.to_seal) == 1
        again = await rig.post(PATH, body, **KEYED)
        assert again.content == answer.content
        assert len(rig.campaigns.to_seal) == 1, "a repeat starts nothing again"

    drive(tmp_path, test)


def test_what_a_crash_left_undone_a_repeat_does(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        body = campaign(recipients=[{"email": "a@b.example"}], start=True)
        open_chunk = rig.staging.open_chunk

        def crash(*_: Any, **__: Any) -> Any:
            raise RuntimeError("the node ends here")

        rig.staging.open_chunk = crash  # type: ignore[method-assign]
        assert (await rig.post(PATH, body, **KEYED)).status_code == 500
        rig.staging.open_chunk = open_chunk  # type: ignore[method-assign]
        again = await rig.post(PATH, body, **KEYED)
        assert again.status_code == 201
        (shown,) = (await rig.get(PATH)).json()["campaigns"]
        assert shown["state"] == "sealing"

    drive(tmp_path, test)


def test_another_tenants_campaign_is_none(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        for path in ("", "/recipients", "/rejects"):
            answer = await rig.get(f"{PATH}/{ident}{path}", by="neighbour")
            assert answer.status_code == 404
        moved = await rig.post(f"{PATH}/{ident}/cancel", by="neighbour")
        assert moved.status_code == 404
        assert (await rig.get(PATH, by="neighbour")).json()["campaigns"] == []

    drive(tmp_path, test)


def test_campaigns_are_listed_by_key_and_state(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        idents = [await rig.created(name=f"c{number}") for number in range(5)]
        first = (await rig.get(f"{PATH}?limit=3")).json()
        rest = (await rig.get(f"{PATH}?limit=3&after={first['next']}")).json()
        listed = [each["id"] for each in [*first["campaigns"], *rest["campaigns"]]]
        assert listed == idents[::-1]
        await rig.post(f"{PATH}/{idents[1]}/cancel")
        found = (await rig.get(f"{PATH}?state=cancelled")).json()["campaigns"]
        assert [each["id"] for each in found] == [idents[1]]
        assert (await rig.get(f"{PATH}?after=x")).status_code == 422

    drive(tmp_path, test)


def test_a_move_that_the_state_does_not_allow_says_the_state(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        refused = await rig.post(f"{PATH}/{ident}/pause")
        assert refused.status_code == 409
        assert "draft" in refused.json()["detail"]
        started = await rig.post(f"{PATH}/{ident}/start")
        assert started.json()["state"] == "sealing"
        late = await rig.put(ident, b'{"email":"a@b.example"}\n')
        assert late.status_code == 409
        assert "sealing" in late.json()["detail"]

    drive(tmp_path, test)


def test_what_runs_is_changed(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created(pace="500/h", priority=3)

        async def change(body: dict[str, Any], by: str = "crm") -> Any:
            return await rig.client.patch(
                f"{PATH}/{ident}", json=body, headers=rig.auth(by)
            )

        one = (await change({"pace": None, "name": "new", "priority": 0})).json()
        assert (one["pace"], one["name"], one["priority"]) == (None, "new", 0)
        two = (await change({"pace": "1/s", "pool": "main"})).json()
        assert (two["pace"], two["name"]) == ("3600/h", "new")
        wrong = await change({"pool": "nope", "pace": "x", "name": None})
        told = {each["field"] for each in wrong.json()["errors"]}
        assert told == {"pool", "pace", "name"}
        assert (await change({"expires_at": None}, by="sender")).status_code == 403
        assert (await change({"html": "x"})).status_code == 422

    drive(tmp_path, test)


def test_a_campaign_with_a_list_takes_no_uploads(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created(list_url="https://a.example/list.csv")
        refused = await rig.put(ident, b'{"email":"a@b.example"}\n')
        assert refused.status_code == 409
        assert "list_url" in refused.json()["detail"]
        started = await rig.post(f"{PATH}/{ident}/start")
        assert started.json()["state"] == "sealing"

    drive(tmp_path, test)


def test_a_key_s_limits_bound_its_campaigns(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.limit("crm", Limits(hourly=100, daily=3))
        for asked, paced in ((None, "100/h"), ("50/h", "50/h"), ("500/h", "100/h")):
            made = await rig.post(PATH, campaign(pace=asked))
            assert made.json()["pace"] == paced
        ident = made.json()["id"]
        rows = b"".join(b'{"email":"a%d@b.example"}\n' % n for n in range(4))
        await rig.put(ident, rows)
        refused = await rig.post(f"{PATH}/{ident}/start")
        assert refused.status_code == 422
        assert "daily quota" in refused.json()["detail"]
        rig.limit("crm", Limits(daily=4, backlog=4))
        assert (await rig.post(f"{PATH}/{ident}/start")).status_code == 200

    drive(tmp_path, test)
