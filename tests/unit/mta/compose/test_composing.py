"""The shape of what is composed: structure, encodings, folding, defects."""

import binascii
import re
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import Message
from email.policy import SMTP

import pytest

from mailwright.address import parse_address
from mailwright.message import PIECE_OCTETS, fields, from_mailbox, split
from mailwright.mta.compose.composing import base64_content, base64_lines, compose
from mailwright.mta.compose.spec import (
    MAX_ATTACHMENTS,
    MAX_HEADERS,
    Attachment,
    ComposeError,
    Defect,
    Mailbox,
    MessageSpec,
    defects_of,
)

DATE = datetime(2026, 3, 1, 9, 5, 0, tzinfo=timezone(timedelta(hours=3)))
ANN = Mailbox(parse_address("ann@example.com"), "Ann")
BOB = Mailbox(parse_address("bob@example.org"))
IMAGE = Attachment("logo.png", "image/png", b"\x89PNG", "logo@x")
FILE = Attachment("report.pdf", "application/pdf", b"%PDF-" * 40)


def spec(**values: object) -> MessageSpec:
    """A small message, with some values of its own."""
    given = {"author": ANN, "subject": "Hello", "text": "Hi\n", "to": (BOB,)} | values
    return MessageSpec(**given)  # type: ignore[arg-type]


def octets_of(made: MessageSpec, seed: bytes = b"seed") -> bytes:
    return compose(
        made, date=DATE, message_id="<1@example.com>", boundary_seed=seed
    ).octets


def shape(part: Message) -> object:
    """The media types of a message as nested tuples."""
    payload = part.get_payload()
    if not part.is_multipart():
        return part.get_content_type()
    assert isinstance(payload, list)
    return (part.get_content_type(), *(shape(each) for each in payload))


def test_a_small_message_is_these_octets() -> None:
    assert octets_of(spec()) == (
        b"From: Ann <ann@example.com>\r\n"
        b"To: bob@example.org\r\n"
        b"Subject: Hello\r\n"
        b"Date: Sun, 01 Mar 2026 09:05:00 +0300\r\n"
        b"Message-ID: <1@example.com>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hi\r\n"
    )


def test_the_author_is_read_by_the_rule_that_admits_mail() -> None:
    for name in (
        "",
        "Ann",
        "Ann B. Clark",
        'A "b" <c@d.e>, f',
        "Ирина Ёлкина",
        "a=?b?=",
    ):
        made = octets_of(spec(author=Mailbox(ANN.address, name)))
        header, _ = split(made)
        assert from_mailbox(fields(header)) == ANN.address


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "text/plain"),
        ({"text": None, "html": "<p>"}, "text/html"),
        ({"html": "<p>"}, ("multipart/alternative", "text/plain", "text/html")),
        (
            {"attachments": (FILE,)},
            ("multipart/mixed", "text/plain", "application/pdf"),
        ),
        (
            {"attachments": (IMAGE,)},
            ("multipart/mixed", "text/plain", "image/png"),
        ),
        (
            {"text": None, "html": "<p>", "attachments": (IMAGE,)},
            ("multipart/related", "text/html", "image/png"),
        ),
        (
            {"html": "<p>", "attachments": (FILE, IMAGE)},
            (
                "multipart/mixed",
                (
                    "multipart/related",
                    ("multipart/alternative", "text/plain", "text/html"),
                    "image/png",
                ),
                "application/pdf",
            ),
        ),
    ],
)
def test_parts_nest_as_mixed_related_alternative(
    values: dict[str, object], expected: object
) -> None:
    assert shape(message_from_bytes(octets_of(spec(**values)))) == expected


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("short lines\nof ASCII\n", "7bit"),
        ("", "7bit"),
        ("a blank at the end \n", "quoted-printable"),
        ("From the start\n", "quoted-printable"),
        (".\n", "quoted-printable"),
        ("x" * 200, "quoted-printable"),
        ("form feed \x0c\n", "quoted-printable"),
        ("naïve café, mostly ASCII otherwise\n", "quoted-printable"),
        ("Здравствуйте, уважаемая Ирина\n", "base64"),
        ("你好\n", "base64"),
    ],
)
def test_text_is_sent_in_the_encoding_that_suits_it(text: str, encoding: str) -> None:
    found = message_from_bytes(octets_of(spec(text=text)))
    assert found["Content-Transfer-Encoding"] == encoding
    payload = found.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n").removesuffix("\n") == (
        text.removesuffix("\n")
    )


def test_line_ends_of_every_kind_become_crlf() -> None:
    body = octets_of(spec(text="a\nb\rc\r\nd")).partition(b"\r\n\r\n")[2]
    assert body == b"a\r\nb\r\nc\r\nd\r\n"


def test_an_attachment_comes_in_base64_lines_of_76() -> None:
    content = bytes(range(256)) * 20
    made = octets_of(spec(attachments=(Attachment("a.bin", "a/b", content),)))
    part = message_from_bytes(made).get_payload(1)
    assert isinstance(part, Message)
    lines = str(part.get_payload()).splitlines()
    assert {len(line) for line in lines[:-1]} == {76}
    assert binascii.a2b_base64("".join(lines)) == content
    assert part["Content-Disposition"] == 'attachment; filename="a.bin"'


#: RFC 4648 §4: whole groups, and the last one padded.
BASE64 = re.compile(
    "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII
)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 5])
def test_base64_is_read_as_a_whole_wherever_it_is_cut(before: int) -> None:
    cut = "QUJD" * (PIECE_OCTETS // 4 - 2) + "QUJD"[: before % 4] + "\r\n" * before
    ends = ["", "QQ==", "QUI=", "QQ==\r\n", "=", "====", "Q", "QQ=", "QQ=\n=", "é", "*"]
    for end in (*ends, *(end + "QUJD" * 20 for end in ends)):
        text = cut + end
        bare = text.replace("\r", "").replace("\n", "")
        if BASE64.fullmatch(bare):
            assert base64_content(text) == binascii.a2b_base64(bare), end
        else:
            with pytest.raises(ValueError, match=r"."):
                base64_content(text)


def test_a_large_attachment_is_encoded_without_another_copy() -> None:
    content = bytes(range(256)) * 8_000
    tracemalloc.start()
    try:
        lines = base64_lines(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert binascii.a2b_base64(lines) == content
    # The buffer grows by an eighth at a time.
    assert peak < len(lines) * 1.3


def test_an_inline_part_is_found_by_its_content_id() -> None:
    made = octets_of(spec(html='<img src="cid:logo@x">', attachments=(IMAGE,)))
    parts = {part.get_content_type(): part for part in message_from_bytes(made).walk()}
    assert parts["image/png"]["Content-ID"] == "<logo@x>"
    assert parts["image/png"].get_content_disposition() == "inline"
    # RFC 2387 §3.1: the root's type.
    assert parts["multipart/related"].get_param("type") == "multipart/alternative"


@pytest.mark.parametrize(
    "filename",
    [
        "plain name.pdf",
        'with "quotes".txt',
        "100%25.txt",
        "отчёт.pdf",
        "o'clock; filename=evil.exe",
        "a" * 255,
        "ж" * 200 + ".docx",
        "=?utf-8?q?x?=.txt",
    ],
)
def test_a_filename_comes_back_whole(filename: str) -> None:
    made = octets_of(spec(attachments=(Attachment(filename, "a/b", b""),)))
    part = message_from_bytes(made, policy=SMTP).get_payload(1)
    assert isinstance(part, Message)
    assert part.get_filename() == filename
    assert max(map(len, made.split(b"\r\n"))) <= 78


def test_hidden_recipients_leave_a_destination_that_names_nobody() -> None:
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in octets_of(spec(to=()))
    assert b"\r\nTo:" not in octets_of(spec(to=(), cc=(BOB,)))


def test_utf8_is_only_in_an_address_that_is_utf8_itself() -> None:
    made = octets_of(spec(to=(Mailbox(parse_address("иван@example.com"), "Иван"),)))
    outside = made.replace("<иван@example.com>".encode(), b"")
    assert outside.isascii()
    assert outside != made


def test_a_long_url_stays_in_one_piece() -> None:
    url = f"<https://example.com/{'u' * 500}>"
    made = octets_of(spec(headers=(("List-Unsubscribe", f"{url}, <mailto:u@x.com>"),)))
    assert f"\r\nList-Unsubscribe: {url},\r\n <mailto:u@x.com>\r\n".encode() in made


def test_a_thousand_recipients_fold_between_mailboxes() -> None:
    many = tuple(
        Mailbox(parse_address(f"user{n}@example.com"), f"Имя {n}") for n in range(1000)
    )
    made = octets_of(spec(to=many))
    assert max(map(len, made.split(b"\r\n"))) <= 78
    found = message_from_bytes(made, policy=SMTP)
    assert len(found["To"].addresses) == 1000


def test_boundaries_are_hashes_of_the_seed_and_in_no_part() -> None:
    made = spec(html="<p>")
    first, again, other = octets_of(made), octets_of(made), octets_of(made, b"other")
    assert first == again
    assert first != other


def test_a_boundary_that_the_text_holds_is_not_used() -> None:
    plain = octets_of(spec(html="<p>"))
    match = re.search(rb'boundary="([^"]+)"', plain)
    assert match is not None
    taken = match[1].decode()
    made = octets_of(spec(html=f"--{taken}\n"))
    assert message_from_bytes(made).get_boundary() != taken
    assert shape(message_from_bytes(made)) == (
        "multipart/alternative",
        "text/plain",
        "text/html",
    )


STRUCTURAL = [
    *("From", "to", "CC", "Bcc", "Reply-To", "Sender", "Date", "Message-ID", "Subject"),
    *("MIME-Version", "Content-Type", "Content-Foo", "Received", "Return-Path"),
    *("DKIM-Signature", "ARC-Seal", "Resent-To", "X-Mailwright-Pool"),
    *("Authentication-Results", "Delivered-To"),
]


def bad_specs() -> Iterator[tuple[str, MessageSpec]]:
    """Specs with one defect, and the field that it is in."""
    for name in STRUCTURAL:
        yield f"headers.{name}", spec(headers=((name, "x"),))
    for name in ("", "X Y", "X:Y", "X\r\nY", "Ж", "1X", "X" * 77, "X_Y"):
        yield "headers", spec(headers=((name, "x"),))
    yield "headers.x-a", spec(headers=(("X-A", "1"), ("x-a", "2")))
    yield "headers.X-A", spec(headers=(("X-A", "1" * 901),))
    yield "headers.X-A", spec(headers=(("X-A", "1 " * 3000),))
    yield "headers", spec(headers=tuple((f"X-{n}", "") for n in range(MAX_HEADERS + 1)))
    yield "subject", spec(subject="a\nb")
    yield "subject", spec(subject="a" * 2001)
    yield "from.name", spec(author=Mailbox(ANN.address, "a\u2028b"))
    yield "to[1].name", spec(to=(BOB, Mailbox(BOB.address, "\x85")))
    yield "cc[0].name", spec(cc=(Mailbox(BOB.address, "n" * 257),))
    lookalike = parse_address("=?utf-8?q?x?=@example.com")
    yield "reply_to[0].address", spec(reply_to=(Mailbox(lookalike),))
    yield "text", spec(text=None)
    yield "text", spec(text="a\0b")
    yield "html", spec(html="\ud800")
    for path in ("../x", "a\\b", "", "a\nb", "x" * 256, " a", "a\u2029b"):
        yield (
            "attachments[0].filename",
            spec(attachments=(Attachment(path, "a/b", b""),)),
        )
    for kind in (
        *("", "text", "text/", "a/b; c", "a/b\r\nX: y", "multipart/mixed"),
        *("message/rfc822", "a/b; c=d; e", "a /b", "ж/b", 'a/b; c="'),
    ):
        yield (
            "attachments[0].content_type",
            spec(attachments=(Attachment("a", kind, b""),)),
        )
    for ident in ("<a@b>", "a b", "a>\r\nX: y", "ж", "a@b@c"):
        yield (
            "attachments[1].content_id",
            spec(attachments=(FILE, Attachment("a", "a/b", b"", ident))),
        )
    yield "attachments[1].content_id", spec(attachments=(IMAGE, IMAGE))
    yield "attachments", spec(attachments=(FILE,) * (MAX_ATTACHMENTS + 1))


@pytest.mark.parametrize(("field", "made"), [*bad_specs()])
def test_a_value_that_cannot_be_carried_is_a_defect_of_its_field(
    field: str, made: MessageSpec
) -> None:
    defects = defects_of(made)
    assert [defect.field for defect in defects] == [field]
    with pytest.raises(ComposeError) as caught:
        octets_of(made)
    assert caught.value.defects == defects


def test_all_defects_are_told_at_once() -> None:
    made = spec(subject="\n", text=None, headers=(("Bcc", "x@example.com"),))
    assert [defect.field for defect in defects_of(made)] == [
        "subject",
        "text",
        "headers.Bcc",
    ]
    with pytest.raises(ComposeError, match=r"subject: .*; text: .*; headers\.Bcc: "):
        octets_of(made)


def test_a_defect_repeats_nothing_of_the_value() -> None:
    for defect in defects_of(spec(subject="\r\nsecret", text="\0secret")):
        assert isinstance(defect, Defect)
        assert "secret" not in defect.reason


@pytest.mark.parametrize(
    "kind", ["text/csv; charset=utf-8", 'text/calendar; method="REQUEST"', "a/b;c=d"]
)
def test_parameters_of_a_content_type_are_kept(kind: str) -> None:
    made = octets_of(spec(attachments=(Attachment("a", kind, b""),)))
    assert f"\r\nContent-Type: {kind}\r\n".encode() in made


def test_a_date_in_utc_is_written_with_its_offset() -> None:
    made = compose(
        spec(),
        date=datetime(2026, 1, 2, tzinfo=UTC),
        message_id="<1@example.com>",
        boundary_seed=b"",
    )
    assert b"\r\nDate: Fri, 02 Jan 2026 00:00:00 +0000\r\n" in made.header
