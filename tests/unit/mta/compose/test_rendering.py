"""Rendering: a function of content, merge and date."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fakes.campaign_contents import (
    ANN,
    DATED,
    MESSAGE_ID,
    attachment,
    compiled,
    content_json,
    merge_of,
    part_of,
    read,
    rendered,
)
from mailwright.mta.compose.content import to_json
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import compile_content, render
from mailwright.mta.compose.template import RenderError, TemplateError

RICH = {
    "html": "<p>Dear {{ name }}, <a href='https://shop.example/?a=1'>go</a></p>",
    "text": None,
    "headers": {"X-Coupon": "{{ coupon }}"},
    "attachments": [attachment(filename="b.png", content_id="logo"), attachment()],
    "utm": {"utm_source": "news", "utm_content": "{{ coupon }}"},
    "defaults": {"coupon": "NONE"},
}


def refusal(own: dict[str, object] | None = None, /, **changes: object) -> RenderError:
    with pytest.raises(RenderError) as caught:
        rendered(own, **changes)
    return caught.value


def test_the_same_arguments_give_the_same_octets() -> None:
    first = rendered(**RICH)
    assert rendered(**RICH) == first
    spelt_otherwise = parse_content(to_json(parse_content(content_json(**RICH))))
    again = render(compile_content(spelt_otherwise), merge_of(), dated_at=DATED)
    assert again == first


def test_attachments_are_encoded_once_to_the_same_octets() -> None:
    content = compiled(**RICH)
    assert all(each.encoded for each in content.content.attachments)
    bare = tuple(replace(each, encoded=b"") for each in content.content.attachments)
    anew = replace(content, content=replace(content.content, attachments=bare))
    assert render(anew, merge_of(), dated_at=DATED) == rendered(**RICH)


def test_what_is_the_recipients_own_makes_other_octets() -> None:
    content, merge = compiled(**RICH), merge_of()
    first = render(content, merge, dated_at=DATED)
    for other, at in [
        (replace(merge, fields=b'{"name": "Bob"}'), DATED),
        (replace(merge, recipient="bob@example.net"), DATED),
        (replace(merge, message_id="<m2@shop.example>"), DATED),
        (merge, DATED + timedelta(seconds=1)),
    ]:
        assert render(content, other, dated_at=at) != first


def test_a_message_says_what_its_content_says() -> None:
    message = read(rendered(to_name="{{ name }} B.", **RICH))
    assert message["From"] == "The Shop <news@shop.example>"
    assert message["To"] == f'"Ann B." <{ANN}>'
    assert message["Subject"] == "Hello Ann"
    assert message["Date"].datetime == DATED
    assert message["Message-ID"] == MESSAGE_ID
    assert message["X-Coupon"] == "NONE"
    assert "utm_source=news&amp;utm_content=NONE'" in part_of(message, "html")
    link = "https://shop.example/?a=1&utm_source=news&utm_content=NONE"
    assert part_of(message, "plain") == f"Dear Ann, go <{link}>\n"
    names = [each.get_filename() for each in message.iter_attachments()]
    assert names == ["a.pdf"]


@pytest.mark.parametrize(
    ("recipient", "campaign", "defaults", "expected"),
    [
        ("r", "c", "d", "r"),
        (None, "c", "d", "c"),
        (None, None, "d", "d"),
        ("", "c", "d", "c"),
        ("", "", "d", "d"),
        ("", None, None, ""),
        (0, "c", "d", "0"),
        (False, "c", "d", "False"),
    ],
)
def test_a_recipients_fields_lie_over_the_campaigns_over_defaults(
    recipient: object, campaign: object, defaults: object, expected: str
) -> None:
    composed = rendered(
        {"x": recipient, "name": "Ann"},
        fields={"x": campaign},
        defaults={"x": defaults},
        subject="[{{ x }}]",
    )
    assert read(composed)["Subject"] == f"[{expected}]"


def test_the_address_is_the_canonical_one_whatever_the_fields_say() -> None:
    composed = rendered({"email": "evil@x.example"}, subject="{{ email }}")
    assert read(composed)["Subject"] == ANN


def test_strict_refuses_who_has_no_such_field_and_lenient_does_not() -> None:
    error = refusal({}, strict=True)
    assert (error.field, error.missing) == ("subject", "name")
    assert read(rendered({}))["Subject"] == "Hello"


def test_variants_say_other_things() -> None:
    changes = {
        "html": "<p>A</p>",
        "variants": {
            "b": {"subject": "B for {{ name }}", "from_name": "{{ name }}'s shop"},
            "c": {"html": "<p>C</p>"},
            "d": {"html": "<p>D</p>", "text": "written"},
        },
    }
    b = read(rendered(None, "b", **changes))
    assert b["Subject"] == "B for Ann"
    assert b["From"] == "Ann's shop <news@shop.example>"
    assert part_of(b, "plain") == "Dear Ann\n"
    c = read(rendered(None, "c", **changes))
    assert c["Subject"] == "Hello Ann"
    # Its text is its own html's, not the text of the other html.
    assert part_of(c, "plain") == "C\n"
    d = read(rendered(None, "d", **changes))
    assert part_of(d, "plain") == "written\n"
    with pytest.raises(RenderError, match="no such variant"):
        rendered(None, "e", **changes)


def test_a_broken_template_is_told_with_its_path() -> None:
    for changes, field in [
        ({"subject": "{{ x"}, "subject"),
        ({"headers": {"X-A": "{% if %}"}}, "headers.X-A"),
        ({"utm": {"a": "{{"}}, "utm.a"),
        ({"variants": {"b": {"from_name": "{{ }}"}}}, "variants.b.from_name"),
    ]:
        with pytest.raises(TemplateError) as caught:
            compiled(**changes)
        assert caught.value.field == field


@pytest.mark.parametrize(
    "fields", [b"", b"[]", b"{", b'{"a": "\\ud800"}', b'{"a": NaN}', b"\xff"]
)
def test_fields_that_are_no_fields_are_refused(fields: bytes) -> None:
    with pytest.raises(RenderError) as caught:
        render(compiled(), replace(merge_of(), fields=fields), dated_at=DATED)
    assert caught.value.field == "fields"


def test_fields_that_nest_too_deep_are_refused() -> None:
    deep: object = 1
    for _ in range(25):
        deep = [deep]
    assert refusal({"a": deep}).field == "fields"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": "{{ x * 2001 }}"}, "subject"),
        ({"from": {"address": "a@b.example", "name": "{{ x * 257 }}"}}, "from.name"),
        ({"to_name": "{{ x * 257 }}"}, "to[0].name"),
        ({"headers": {"X-A": "{{ x * 4097 }}"}}, "headers.X-A"),
        ({"headers": {"X-A": "{{ x * 1000 }}"}}, "headers.X-A"),
        ({"headers": {"List-Unsubscribe": "<https://x.example/{{ u }}>"}}, None),
        ({"text": "{{ nul }}"}, "text"),
    ],
)
def test_what_does_not_fit_its_field_is_refused(
    changes: dict[str, object], field: str | None
) -> None:
    error = refusal({"x": "a", "u": "ü", "nul": "\0"}, **changes)
    assert error.field == (field or "headers.List-Unsubscribe")


def test_smtputf8_is_needed_only_for_an_address_that_is_utf8_itself() -> None:
    composed = rendered(
        {"name": "Änne Grüße 你好"},
        to_name="{{ name }}",
        headers={"X-Name": "{{ name }}"},
        html="<p>{{ name }}</p>",
    )
    assert composed.octets.isascii()
    mailbox = merge_of(recipient="änne@example.net")
    utf8 = render(compiled(), mailbox, dated_at=DATED)
    lines = [line for line in utf8.header.split(b"\r\n") if not line.isascii()]
    assert lines == ["To: änne@example.net".encode()]
    assert utf8.body.isascii()


def test_no_clock_shows() -> None:
    shown = read(rendered(text="{{ now }}{{ now is defined }}"))
    assert part_of(shown, "plain") == "False\n"
