"""A field's value never makes a header, a recipient or a line of one.

Every place a value can come to × every payload. The oracle reads octets: the names of the
header fields are those of the content, each once; the addresses are those that were given;
every line of the header is a field or a folded part of one. It is turned on two naive
renderers too, and must catch them.
"""

import re
from collections.abc import Callable
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser

import pytest

from fakes.campaign_contents import ANN, DATED, compiled, merge_of
from mailwright.mta.compose.rendering import render
from mailwright.mta.compose.template import RenderError

CONTROLS = {
    "CR": "\r",
    "LF": "\n",
    "CRLF": "\r\n",
    "NUL": "\0",
    "VT": "\x0b",
    "FF": "\x0c",
    "1C": "\x1c",
    "1D": "\x1d",
    "1E": "\x1e",
    "NEL": "\x85",
    "LS": "\u2028",
    "PS": "\u2029",
    "folded": "\r\n ",
    "LFCR": "\n\r",
    "two": "\r\n\r\n",
}
PAYLOADS = {
    name: f"x{char}Bcc: evil@x.example{char}X-Evil: 1"
    for name, char in CONTROLS.items()
} | {
    "encoded CRLF": "=?utf-8?q?=0D=0ABcc:_evil@x.example?=",
    "encoded base64": "=?utf-8?b?DQpCY2M6IGV2aWxAeC5leGFtcGxl?=",
    "percent": "x%0D%0ABcc: evil@x.example",
    "mailbox": "evil@x.example, <evil2@x.example>",
    "brackets": '"<evil@x.example>" <evil@x.example>, ',
    "quotes": '\\" <evil@x.example>, "',
    "comment": "(evil@x.example)",
    "group": "a: evil@x.example;",
    "long": "x" * 5_000,
    "long words": "long words " * 150,
    "wide": "你" * 90,
    "entity": "x&#13;&#10;Bcc: evil@x.example",
    "template": "{{ 7 * 7 }}{% for x in range(9) %}",
    "boundary": "--=_\r\n\r\nContent-Type: text/html\r\n\r\nevil",
}
PLACES: dict[str, dict[str, object]] = {
    "from.name": {"from": {"address": "news@shop.example", "name": "S {{ x }}"}},
    "from.name alone": {"from": {"address": "news@shop.example", "name": "{{ x }}"}},
    "to_name": {"to_name": "{{ x }}"},
    "subject": {"subject": "Hello {{ x }}"},
    "subject alone": {"subject": "{{ x }}"},
    "header": {"headers": {"X-Coupon": "c {{ x }}"}},
    "header alone": {"headers": {"X-Coupon": "{{ x }}"}},
    "unsubscribe": {"headers": {"List-Unsubscribe": "<https://x.example/{{ x }}>"}},
    "list id": {"headers": {"List-Id": "{{ x }} <news.shop.example>"}},
    "text": {"text": "Dear {{ x }}"},
    "html": {"html": "<p>{{ x }}</p>", "text": None},
    "html safe": {"html": "<p>{{ x|safe }}</p>", "text": None},
    "link": {"html": "<a href='https://x.example/?{{ x }}'>x</a>", "text": None},
    "utm": {
        "html": "<a href='https://x.example/'>x</a>",
        "utm": {"utm_content": "{{ x }}"},
    },
    "variant": {"variants": {"b": {"from_name": "{{ x }}", "subject": "{{ x }}"}}},
}
_BASE = [b"from", b"to", b"subject", b"date", b"message-id", b"mime-version"]
_MIME = [b"content-type", b"content-transfer-encoding"]
_FIELD = re.compile(rb"([!-9;-~]+):[ ]?[\x20-\x7e]*|[ ][\x20-\x7e]*")


def faults(octets: bytes, own: list[bytes]) -> list[str]:
    """Return what a value changed beyond the text of its own field."""
    found = []
    header, _, _ = octets.partition(b"\r\n\r\n")
    names = []
    for line in header.split(b"\r\n"):
        match = _FIELD.fullmatch(line)
        if match is None or len(line) > 998:
            found.append(f"a line that is no field: {line[:60]!r}")
        elif match[1] is not None:
            names.append(match[1].lower())
        elif not line.strip():
            found.append("a line of blanks")
    expected = [*_BASE, *own]
    if names[: len(expected)] != expected or sorted(set(names)) != sorted(names):
        found.append(f"fields: {names}")
    if set(names) - set(expected) - set(_MIME):
        found.append(f"new fields: {set(names) - set(expected)}")
    message = BytesParser(policy=policy.default).parsebytes(octets)
    for name, address in (("From", "news@shop.example"), ("To", ANN)):
        mailboxes = [each.addr_spec for each in message[name].addresses]
        if mailboxes != [address]:
            found.append(f"{name}: {mailboxes}")
    if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets):
        found.append("a stray line end")
    return found


def own_fields(changes: dict[str, object]) -> list[bytes]:
    headers = changes.get("headers", {})
    assert isinstance(headers, dict)
    return [name.lower().encode() for name in headers]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("strict", [True, False])
def test_a_value_changes_the_text_of_its_field_and_nothing_else(
    place: str, payload: str, *, strict: bool
) -> None:
    changes = PLACES[place]
    variant = "b" if place == "variant" else ""
    merge = merge_of({"x": PAYLOADS[payload], "name": "Ann"}, variant)
    try:
        composed = render(compiled(strict=strict, **changes), merge, dated_at=DATED)
    except RenderError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:  # with the field's name and without the value
        assert "evil" not in refusal
        return
    assert not faults(composed.octets, own_fields(changes))
    if payload in CONTROLS:
        assert place in ("text", "html", "html safe", "link", "utm")


def test_what_has_no_control_is_sent_and_read_back_as_it_was() -> None:
    """Refusing everything would pass the test above."""
    sent = 0
    for payload, value in PAYLOADS.items():
        if payload in CONTROLS or payload in ("long", "boundary"):
            continue
        merge = merge_of({"x": value})
        composed = render(compiled(subject="{{ x }}"), merge, dated_at=DATED)
        raw = BytesParser(policy=policy.compat32).parsebytes(composed.octets)["Subject"]
        unfolded = re.sub(r"\r\n(?=[ \t])", "", raw)
        assert str(make_header(decode_header(unfolded))) == value.strip()
        sent += 1
    assert sent >= 9


def joined(value: str, place: str) -> bytes:
    """Render as string concatenation does."""
    name = value if place == "from.name" else "S"
    subject = value if place == "subject" else "s"
    return (
        f"From: {name} <news@shop.example>\r\nTo: {ANN}\r\nSubject: {subject}\r\n"
        f"Date: Sun, 01 Mar 2026 09:00:00 +0000\r\nMessage-ID: <m1@shop.example>\r\n"
        "MIME-Version: 1.0\r\n\r\ntext\r\n"
    ).encode()


#: Newer releases of Python refuse to write such a field (CVE-2024-6923), unless told so.
CHECK = "verify_generated_headers"
UNCHECKED = policy.SMTP.clone(**({CHECK: False} if hasattr(policy.SMTP, CHECK) else {}))


def reserialised(value: str, place: str) -> bytes:
    """Render as a round trip through ``email`` with ``policy.SMTP`` does."""
    parsed = BytesParser(policy=UNCHECKED).parsebytes(joined(value, place))
    assert isinstance(parsed, EmailMessage)
    return parsed.as_bytes()


@pytest.mark.parametrize(
    ("naive", "least"), [(joined, 10), (reserialised, 3)], ids=["joined", "email"]
)
def test_naive_renderers_are_caught(
    naive: Callable[[str, str], bytes], least: int
) -> None:
    caught = [
        (place, payload)
        for place in ("from.name", "subject")
        for payload, value in PAYLOADS.items()
        if _is_caught(naive, value, place)
    ]
    assert len(caught) >= least


def _is_caught(naive: Callable[[str, str], bytes], value: str, place: str) -> bool:
    try:
        return bool(faults(naive(value, place), []))
    except (ValueError, AttributeError, IndexError):
        return False  # its own reader refuses it: not the oracle's doing


def test_naive_rendering_makes_a_new_header() -> None:
    octets = joined(PAYLOADS["CRLF"], "subject")
    assert any("new fields" in fault for fault in faults(octets, []))
    assert any(
        "new fields" in fault
        for value in PAYLOADS.values()
        for fault in faults(reserialised(value, "subject"), [])
    )
