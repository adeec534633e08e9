"""What a preview shows and finds."""

import pytest

from fakes.campaign_contents import DATED, attachment, compiled, merge_of, rendered
from mailwright.mta.compose.lint import (
    MAX_FINDINGS,
    Preview,
    Severity,
    preview,
    preview_of_json,
)

GOOD = {
    "subject": "Hello {{ name }}",
    "text": "Dear {{ name }}\nUnsubscribe: https://x.example/u\n",
    "html": "<p>Dear {{ name }}</p><a href='https://x.example/u'>Unsubscribe</a>"
    "<img src='https://x.example/l.png' alt=''>",
}


def look(own: dict[str, object] | None = None, /, **changes: object) -> Preview:
    content = compiled(**{**GOOD, **changes})
    return preview(content, merge_of(own), dated_at=DATED)


def codes(**changes: object) -> dict[str, Severity]:
    return {each.code: each.severity for each in look(**changes).lint}


def test_a_good_letter_has_no_findings() -> None:
    shown = look()
    assert shown.lint == ()
    assert shown.subject == "Hello Ann"
    assert shown.author == "The Shop <news@shop.example>"
    assert shown.to == "ann@example.net"
    assert shown.text is not None
    assert shown.text.startswith("Dear Ann")
    assert shown.octets == len(rendered(**GOOD).octets)


@pytest.mark.parametrize(
    ("changes", "code", "severity", "where"),
    [
        ({"subject": " "}, "subject_empty", "error", "subject"),
        ({"subject": "x" * 121}, "subject_long", "warning", "subject"),
        ({"text": None}, "text_made", "info", "text"),
        ({"text": " "}, "text_empty", "warning", "text"),
        ({"html": "x" * 104_500}, "html_clipped", "warning", "html"),
        ({"html": "\n<a href='/x'>a</a>"}, "link_relative", "error", "html:2"),
        ({"html": "<a href='www.x.example'>a</a>"}, "link_relative", "error", "html:1"),
        ({"html": "<a href=''>a</a>"}, "link_broken", "error", "html:1"),
        ({"html": "<a href='https://'>a</a>"}, "link_broken", "error", "html:1"),
        ({"html": "<a href='https://local'>a</a>"}, "link_broken", "error", "html:1"),
        (
            {"html": "<a href='https://x.example/a b'>"},
            "link_broken",
            "error",
            "html:1",
        ),
        ({"html": "<a href='http://[x'>"}, "link_broken", "error", "html:1"),
        ({"html": "<a href='javascript:x()'>"}, "link_unsafe", "error", "html:1"),
        ({"html": "<a href='java&#9;script:x()'>"}, "link_unsafe", "error", "html:1"),
        ({"html": "<a href='data:text/html,x'>"}, "link_unsafe", "error", "html:1"),
        (
            {"html": "<img src='https://x.example/'>"},
            "image_alt_missing",
            "warning",
            "html:1",
        ),
        ({"html": "<img src='l.png' alt=''>"}, "image_broken", "error", "html:1"),
        ({"html": "<img src='cid:x' alt=''>"}, "image_unknown", "error", "html:1"),
        ({"html": "<img src='data:,' alt=''>"}, "image_data", "warning", "html:1"),
        ({"html": "<script>x</script>"}, "element_unsafe", "warning", "html"),
        ({"html": "{{ coupon }}"}, "missing_field", "warning", "html"),
        ({"html": "x", "text": "y"}, "unsubscribe_missing", "error", "html"),
    ],
)
def test_each_fault_is_found_where_it_is(
    changes: dict[str, object], code: str, severity: str, where: str
) -> None:
    found = [each for each in look(**changes).lint if each.code == code]
    assert [(each.severity.value, each.where) for each in found] == [(severity, where)]
    assert code not in codes()


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"List-Unsubscribe": "<https://x.example/u>"}},
        {"html": "<a href='https://x.example/unsubscribe?u=1'>here</a>"},
        {"html": "<a href='https://x.example/1'>Newsletter <b>abbestellen</b></a>"},
        {"html": "<a href='https://x.example/1'>Se désabonner</a>"},
        {"html": "<a href='https://x.example/1'>Отписаться</a>"},
    ],
)
def test_any_way_to_leave_is_one(changes: dict[str, object]) -> None:
    assert "unsubscribe_missing" not in codes(text="x", **changes)


def test_an_image_that_comes_with_the_message_is_known() -> None:
    html = GOOD["html"] + "<img src='cid:logo' alt='Logo'>"
    attachments = [attachment(filename="l.png", content_id="logo")]
    assert codes(html=html, attachments=attachments) == {}


def test_a_strict_one_shows_its_parts_and_says_why_it_would_not_leave() -> None:
    shown = look({}, strict=True)
    assert shown.octets == 0
    assert shown.subject == "Hello"
    [first, *others] = shown.lint
    assert (first.code, first.severity, first.where) == (
        "not_rendered",
        Severity.ERROR,
        "subject",
    )
    assert "name is missing" in first.text
    assert {each.code for each in others} == {"missing_field"}


def test_what_fits_no_field_is_a_finding() -> None:
    shown = look({"name": "a\r\nBcc: x@y.example"})
    assert (shown.subject, shown.octets) == ("", 0)
    assert [each.code for each in shown.lint] == ["not_rendered"]


def test_findings_are_bounded() -> None:
    shown = look(html="<a href='/x'>y</a>" * 10_000)
    assert len(shown.lint) == MAX_FINDINGS


def test_a_preview_survives_json() -> None:
    shown = look(html="<a href='/x'>y</a>", headers={"X-A": "b"})
    assert preview_of_json(shown.to_json()) == shown
