"""Templates, previews, test copies, and what went out, over HTTP."""

from pathlib import Path
from typing import Any

from fakes.api import OURS, START
from fakes.campaign_rig import PATH, Rig, campaign, drive
from mailwright.api.campaigns.ports import Unrendered
from mailwright.ids import Kind, format_public

TEMPLATES = "/v1/templates"


def template(**members: Any) -> dict[str, Any]:
    given = {"name": "spring", "subject": "Hi {{ name }}", "text": "x"} | members
    return {name: value for name, value in given.items() if value is not None}


def test_a_template_has_versions_that_stay(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        one = await rig.post(TEMPLATES, template(from_name="Shop", note="first"))
        assert one.status_code == 201, one.text
        assert one.headers["Location"] == f"{TEMPLATES}/spring/1"
        two = await rig.post(TEMPLATES, template(text="y"))
        assert two.json()["version"] == 2
        await rig.post(TEMPLATES, template(name="autumn"))
        listed = (await rig.get(TEMPLATES)).json()["templates"]
        assert [(each["name"], each["version"]) for each in listed] == [
            ("autumn", 1),
            ("spring", 2),
        ]
        versions = (await rig.get(f"{TEMPLATES}/spring")).json()["templates"]
        assert [each["version"] for each in versions] == [2, 1]
        shown = (await rig.get(f"{TEMPLATES}/spring/1")).json()
        assert shown["content"]["text"] == "x"
        assert shown["content"]["from_name"] == "Shop"
        assert "from" not in shown["content"]
        for path in ("spring/3", "nope", "nope/1"):
            assert (await rig.get(f"{TEMPLATES}/{path}")).status_code == 404

    drive(tmp_path, test)


def test_a_broken_template_is_not_stored(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        for wrong, field in (
            ({"subject": "{{"}, "subject"),
            ({"text": None}, "html"),
            ({"from_name": "{% if %}"}, "from_name"),
            ({"name": "a b"}, "name"),
        ):
            answer = await rig.post(TEMPLATES, template(**wrong))
            assert answer.status_code == 422
            assert field in [each["field"] for each in answer.json()["errors"]]
        assert (await rig.get(TEMPLATES)).json()["templates"] == []

    drive(tmp_path, test)


def test_a_repeated_create_is_one_version(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        first = await rig.post(TEMPLATES, template(), Idempotency_Key="k")
        again = await rig.post(TEMPLATES, template(), Idempotency_Key="k")
        assert (again.content, again.headers["Location"]) == (
            first.content,
            first.headers["Location"],
        )
        assert again.headers["Idempotent-Replayed"] == "true"
        versions = (await rig.get(f"{TEMPLATES}/spring")).json()["templates"]
        assert len(versions) == 1

    drive(tmp_path, test)


def test_a_campaign_keeps_the_version_that_it_was_created_with(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.post(TEMPLATES, template(text="first", fields={"a": 1, "b": 1}))
        ident = await rig.created(
            template={"name": "spring"}, html=None, subject=None, fields={"b": 2}
        )
        await rig.post(TEMPLATES, template(text="second"))
        shown = await rig.post(f"{PATH}/{ident}/preview", {})
        # The fake shows a content's JSON in place of the subject.
        content = shown.json()["subject"]
        assert '"text":"first"' in content
        assert '"fields":{"a":1,"b":2}' in content
        assert '"address":"news@example.com"' in content
        both = await rig.post(
            PATH, campaign(template={"name": "spring"}, subject=None, html="x")
        )
        assert both.json()["errors"] == [
            {"field": "html", "message": "is the template's"}
        ]

    drive(tmp_path, test)


def test_a_preview_is_for_a_recipient(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        asked = {"email": "Ada@B.example", "fields": {"a": 1}, "variant": "v"}
        shown = await rig.post(f"{PATH}/{ident}/preview", asked)
        assert shown.json()["text"] == "ada@b.example {'a': 1} v"
        rig.rendering.refusal = Unrendered("html", "takes too long")
        refused = await rig.post(f"{PATH}/{ident}/preview", asked)
        assert refused.json()["errors"] == [
            {"field": "html", "message": "takes too long"}
        ]
        wrong = await rig.post(f"{PATH}/{ident}/preview", {"email": "x"})
        assert wrong.status_code == 422

    drive(tmp_path, test)


def test_test_copies_are_messages_with_a_tag(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        body = {"to": ["a@b.example", "c@b.example"]}
        sent = await rig.post(f"{PATH}/{ident}/test", body, Idempotency_Key="t")
        assert sent.status_code == 201, sent.text
        assert [each.tags for each in rig.intake.submissions] == [("test",)] * 2
        streams = {each.stream for each in rig.intake.submissions}
        assert len(streams) == 1
        again = await rig.post(f"{PATH}/{ident}/test", body, Idempotency_Key="t")
        assert again.json() == sent.json()
        assert len(rig.intake.submissions) == 2, "a repeat sends nothing again"
        for wrong in ([], ["x"], ["a@b.example"] * 21):
            refused = await rig.post(f"{PATH}/{ident}/test", {"to": wrong})
            assert refused.status_code == 422
        assert (await rig.get(f"{PATH}/{ident}")).json()["state"] == "draft"

    drive(tmp_path, test)


def test_a_test_that_broke_off_sends_the_rest_when_repeated(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        ident = await rig.created()
        body = {"to": ["a@b.example", "c@b.example"]}
        # The first is stored, and then the node ends.
        rig.intake.error_after = RuntimeError("the node ends here")
        broke = await rig.post(f"{PATH}/{ident}/test", body, Idempotency_Key="t")
        assert broke.status_code == 500
        rig.intake.error_after = None
        again = await rig.post(f"{PATH}/{ident}/test", body, Idempotency_Key="t")
        assert again.status_code == 201
        sent = [
            each.envelope.recipients[0].address.canonical
            for each in rig.intake.submissions
        ]
        assert sent == ["a@b.example", "c@b.example"]

    drive(tmp_path, test)


def test_what_went_out_is_octets_or_a_reason(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.rendering.messages[OURS, 1] = b"Subject: x\r\n\r\n\xff"
        rig.rendering.messages[OURS, 2] = "its campaign has not started"
        paths = [
            f"/v1/messages/{format_public(Kind.MESSAGE, START, number)}/rendered"
            for number in (1, 2, 3)
        ]
        one, two, none = [await rig.get(path) for path in paths]
        assert one.content == b"Subject: x\r\n\r\n\xff"
        assert one.headers["Content-Type"] == "message/rfc822"
        assert two.status_code == 409
        assert none.status_code == 404
        assert (await rig.get(paths[0], by="neighbour")).status_code == 404

    drive(tmp_path, test)
