"""Rendering for any values.

* The same arguments give the same octets, in another compilation too.
* Whatever the values are: the header's fields are the content's, or nobody gets it.
* Subject, name and header value read back as what was put in (RFC 2047, by Python's reader).
* Marking links changes links by an addition, and nothing else.
* Tokens and text of any html: no exception; text has no tag's name that was none before.
"""

import re
from dataclasses import replace
from email import policy
from email.header import decode_header, make_header
from email.parser import BytesParser
from functools import lru_cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakes.campaign_contents import (
    ANN,
    DATED,
    attachment,
    compiled,
    merge_of,
    part_of,
    read,
)
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.links import mark_html, mark_text
from mailwright.mta.compose.plain import from_html
from mailwright.mta.compose.rendering import CompiledContent, render
from mailwright.mta.compose.template import RenderError

CHANGES: dict[str, Any] = {
    "from": {"address": "news@shop.example", "name": "{{ who }}"},
    "subject": "{{ subject }}",
    "html": "<p>{{ body }}</p><a href='https://x.example/?a=1'>{{ who }}</a>",
    "text": None,
    "headers": {"X-Value": "{{ value }}", "X-Fixed": "fixed"},
    "to_name": "{{ to }}",
    "utm": {"utm_content": "{{ value }}"},
    "attachments": [attachment(filename="Grüße 你好.pdf")],
}
FIELDS = ["date", "from", "message-id", "mime-version", "subject", "to"]
FIELDS += ["content-type", "x-fixed", "x-value"]
TEXTS = st.text(max_size=120) | st.text("\r\n \t:;,<>\"'=?@aBc\u2028é你", max_size=60)
PIECES = (
    *("<a href=", "'https://x.example/'", ">", "<p>", "</a>", "<!--", "-->", "<"),
    *("<script>", "</script>", "<li>", "<ul>", "</ul>", "text", "&amp;", '"', " "),
)
HTML = st.text("<>/='\"! -&;#ab\n", max_size=200) | st.lists(
    st.sampled_from(PIECES), max_size=40
).map("".join)
UTM = {"utm_source": "n", "utm_content": "a b"}


@lru_cache(maxsize=1)
def content() -> CompiledContent:
    return compiled(**CHANGES)


def made(
    values: dict[str, Any], using: CompiledContent | None = None
) -> Composed | str:
    merge = replace(merge_of(values), recipient=ANN)
    try:
        return render(using or content(), merge, dated_at=DATED)
    except RenderError as error:
        return str(error)


VALUES = st.fixed_dictionaries(
    dict.fromkeys(("who", "subject", "body", "value", "to"), TEXTS)
)


@given(VALUES)
def test_the_same_arguments_give_the_same_octets(values: dict[str, str]) -> None:
    assert made(values) == made(values, compiled(**CHANGES))


@given(VALUES)
def test_a_header_has_the_contents_fields_or_nobody_gets_it(
    values: dict[str, str],
) -> None:
    composed = made(values)
    if isinstance(composed, str):
        return
    lines = composed.header.split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines if line and line[:1] != b" "]
    assert sorted(name.decode().lower() for name in names) == sorted(FIELDS)
    assert composed.octets.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", composed.octets)
    message = BytesParser(policy=policy.default).parsebytes(composed.octets)
    assert [each.addr_spec for each in message["To"].addresses] == [ANN]
    assert [each.addr_spec for each in message["From"].addresses] == [
        "news@shop.example"
    ]
    [file] = message.iter_attachments()
    assert file.get_filename() == "Grüße 你好.pdf"


@given(VALUES)
def test_values_read_back_as_they_were(values: dict[str, str]) -> None:
    composed = made(values)
    if isinstance(composed, str):
        return
    message = BytesParser(policy=policy.compat32).parsebytes(composed.octets)
    for name, value in (("Subject", "subject"), ("X-Value", "value")):
        unfolded = re.sub(r"\r\n(?=[ \t])", "", message[name] or "")
        assert str(make_header(decode_header(unfolded))) == values[value].strip(" ")


@given(HTML)
def test_marking_adds_to_links_and_changes_nothing_else(html: str) -> None:
    marked = mark_html(html, UTM)
    assert re.sub(r"[?&]?(?:&amp;)?utm_source=n&amp;utm_content=a%20b", "", marked) in (
        html,
        html.replace("?", ""),
    )
    assert mark_html(marked, UTM) == marked


@given(st.text("https:/x.example?#&=() ,.\n", max_size=120))
def test_marking_text_is_done_once(text: str) -> None:
    marked = mark_text(text, UTM)
    assert re.sub(r"[?&]?utm_source=n&utm_content=a%20b", "", marked).replace(
        "?", ""
    ) == text.replace("?", "")


WORDS = st.text(
    st.characters(exclude_categories=("C", "Z", "M")), min_size=1, max_size=30
)
LETTER = (
    "<h1>Dear {{ a }} {{ b }},</h1><p>in {{ a }}:<br>{{ c }}</p><ul><li>{{ b }}</li></ul>"
    "<table><tr><td>{{ a }}</td><td>{{ c }}</td></tr></table>"
    "<p>x <a href='https://x.example/?q={{ c|urlencode }}'>{{ b }} y</a>.</p>"
)


@given(WORDS, WORDS, WORDS)
def test_the_text_made_of_a_template_is_that_of_its_html(
    a: str, b: str, c: str
) -> None:
    values: dict[str, Any] = {"a": a, "b": b, "c": c}
    quick = _plain_part(values, LETTER)
    # A test that is always true keeps the text from being made of the template.
    slow = _plain_part(values, "{% if true %}" + LETTER + "{% endif %}")
    assert quick == slow


def _plain_part(values: dict[str, Any], html: str) -> str:
    using = compiled(subject="s", html=html, text=None)
    composed = made(values, using)
    assert isinstance(composed, Composed)
    return part_of(read(composed), "plain")


@given(HTML | st.text(max_size=200))
def test_any_html_has_a_text(html: str) -> None:
    text = from_html(html)
    assert text == "" or text.endswith("\n")
    assert "\n\n\n" not in text
    assert from_html(html) == text
