"""A campaign's content: read strictly, written in one way, with every limit."""

import base64
import json

import pytest

from fakes.campaign_contents import attachment, content_json
from mailwright.mta.compose import reading
from mailwright.mta.compose.content import ContentError, to_json
from mailwright.mta.compose.reading import parse_content

EVERYTHING = {
    "reply_to": [{"address": "help@shop.example", "name": "Help"}],
    "to_name": "{{ name }}",
    "html": "<p>{{ name }}</p>",
    "headers": {"X-Coupon": "{{ coupon }}", "List-Unsubscribe": "<https://x.example>"},
    "fields": {"year": 2026, "list": [1, {"a": None}]},
    "defaults": {"name": "friend"},
    "attachments": [attachment(), attachment(filename="b.png", content_id="logo")],
    "utm": {"utm_source": "news", "utm_content": "{{ name }}"},
    "strict": True,
    "variants": {"b": {"subject": "Hi", "html": "", "from_name": "Bob"}},
}


def defects(octets: bytes) -> dict[str, str]:
    with pytest.raises(ContentError) as caught:
        parse_content(octets)
    return {each.field: each.reason for each in caught.value.defects}


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["little", "everything"])
def test_what_is_read_is_written_in_one_way(changes: dict[str, object]) -> None:
    content = parse_content(content_json(**changes))
    written = to_json(content)
    assert parse_content(written) == content
    assert to_json(parse_content(written)) == written
    assert written == to_json(
        parse_content(
            json.dumps(json.loads(content_json(**changes)), indent=3).encode()
        )
    )


def test_an_empty_variant_part_differs_from_none() -> None:
    content = parse_content(content_json(**EVERYTHING))
    variant = parse_content(to_json(content)).variants["b"]
    assert (variant.html, variant.text) == ("", None)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = defects(
        json.dumps(
            {
                "from": {"address": "nobody", "nick": "x"},
                "subject": "a\nb",
                "headers": {"Bcc": "x@y.example", "Bad Name": "x", "X-Ok": 1},
                "strict": "yes",
                "utm": {"a b": "x"},
                "attachments": [{"filename": "../x"}],
                "variants": {"b c": {}, "d": {"subject": 1}},
                "colour": "red",
            }
        ).encode()
    )
    assert set(found) >= {
        "from.address",
        "from.nick",
        "subject",
        "headers.Bcc",
        "headers",
        "headers.X-Ok",
        "strict",
        "utm",
        "attachments[0].filename",
        "attachments[0].content_type",
        "attachments[0].content",
        "variants",
        "variants.d.subject",
        "colour",
        "html",
    }


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"subject": NaN}',
        b'{"subject": "\xff"}',
        b'{"subject": "\\ud800"}',
        b"[" * 200_000,
    ],
)
def test_what_is_no_json_object_is_refused(octets: bytes) -> None:
    assert set(defects(octets)) == {""}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


LIMITS = [
    (
        "html",
        "html",
        "x" * reading.MAX_HTML_OCTETS,
        "x" * (reading.MAX_HTML_OCTETS + 1),
    ),
    ("text", "text", "x" * reading.MAX_TEXT_OCTETS, "é" * 1_000_001),
    ("subject", "subject", "x" * reading.MAX_LINE_CHARS, "x" * 8193),
    ("from", "from.name", {"address": "a@b.example", "name": "x" * 8192}, None),
    ("to_name", "to_name", "x" * 8192, "x" * 8193),
    ("fields", "fields", {"a": "x" * 65_527}, {"a": "x" * 65_528}),
    ("defaults", "defaults", {"a": nested(19)}, {"a": nested(20)}),
    (
        "attachments",
        "attachments",
        [attachment(content=base64.b64encode(b"x" * 12_500_000).decode())] * 2,
        [attachment(content=base64.b64encode(b"x" * 12_500_001).decode())] * 2,
    ),
    ("attachments", "attachments", [attachment()] * 100, [attachment()] * 101),
    (
        "variants",
        "variants",
        {f"v{n}": {"subject": "x"} for n in range(20)},
        {f"v{n}": {"subject": "x"} for n in range(21)},
    ),
    (
        "variants",
        "variants",
        {f"v{n}": {"html": "x" * 2_000_000} for n in range(4)},
        {f"v{n}": {"html": "x" * 2_000_000} for n in range(5)},
    ),
    (
        "reply_to",
        "reply_to",
        [{"address": "a@b.example"}] * 10,
        [{"address": "a@b.example"}] * 11,
    ),
    (
        "headers",
        "headers",
        {f"X-{n}": "x" for n in range(50)},
        {f"X-{n}": "x" for n in range(51)},
    ),
    (
        "utm",
        "utm",
        {f"u{n}": "x" for n in range(20)},
        {f"u{n}": "x" for n in range(21)},
    ),
]


@pytest.mark.parametrize(
    ("key", "path", "most", "more"),
    LIMITS,
    ids=[f"{number} {each[1]}" for number, each in enumerate(LIMITS)],
)
def test_each_limit_holds_to_the_octet(
    key: str, path: str, most: object, more: object
) -> None:
    parse_content(content_json(**{key: most}))
    if more is not None:
        assert path in defects(content_json(**{key: more}))


@pytest.mark.parametrize("char", ["\r", "\n", "\0", "\x1f", "\x7f", "\x85", "\u2028"])
def test_no_template_of_a_header_holds_a_control(char: str) -> None:
    for key, value, path in [
        ("subject", f"a{char}b", "subject"),
        ("to_name", f"a{char}b", "to_name"),
        ("from", {"address": "a@b.example", "name": f"a{char}"}, "from.name"),
        ("headers", {"X-A": f"{char}b"}, "headers.X-A"),
        ("utm", {"utm_source": char}, "utm.utm_source"),
        ("variants", {"v": {"from_name": char}}, "variants.v.from_name"),
    ]:
        assert path in defects(content_json(**{key: value}))


def test_an_author_whom_most_receivers_would_refuse_is_refused_here() -> None:
    found = defects(content_json(**{"from": {"address": "nëws@shop.example"}}))
    assert "beyond ASCII" in found["from.address"]
    parse_content(content_json(**{"from": {"address": "news@shöp.example"}}))
