"""What is composed is read back, by a reader that is not ours, as what was given.

The reader is Python's ``email`` with its modern policy. Invariants: every value comes back
whole; the names of the header's fields depend on which values were given, never on what is
in them; the octets are strict; the same arguments give the same octets.
"""

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.address import parse_address
from mailwright.mta.compose.composing import Composed, compose
from mailwright.mta.compose.spec import (
    Attachment,
    Mailbox,
    MessageSpec,
    defects_of,
)

DATE = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
IDENT = "<one@example.com>"

#: Everything a header may hold: no C0, C1, separators, surrogates.
CHARS = st.one_of(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E),
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")),
    st.sampled_from("АБВгдежзий😀👩‍👩‍👧中文\"\\<>@,;:()[]=?_. %'"),
)
LINES = st.text(CHARS, max_size=120)
PLAIN_LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/^_`{|}~-]{1,20}", fullmatch=True)
DOMAINS = st.sampled_from(["example.com", "почта.рф", "a.b.example.org"])
ADDRESSES = st.builds(
    lambda local, domain: parse_address(f"{local}@{domain}"), PLAIN_LOCAL_PARTS, DOMAINS
)
NAMES = st.one_of(st.just(""), st.text(CHARS, max_size=60))
MAILBOXES = st.builds(Mailbox, ADDRESSES, NAMES)
LISTS = st.lists(MAILBOXES, max_size=6).map(tuple)
BODIES = st.text(
    st.one_of(CHARS, st.sampled_from("\r\n\t.=-_ \x0b\x0c\x1c\x85\u2028")), max_size=400
)
FILENAMES = st.text(CHARS, min_size=1, max_size=100).filter(
    lambda name: "/" not in name and "\\" not in name and name == name.strip()
)
ATTACHMENTS = st.builds(
    Attachment,
    filename=FILENAMES,
    content_type=st.sampled_from(["application/pdf", "image/png", "text/csv"]),
    content=st.binary(max_size=300),
    content_id=st.one_of(st.just(""), st.from_regex(r"[a-z]{1,8}@x", fullmatch=True)),
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-One", "List-Unsubscribe", "Feedback-ID", "References"]),
    LINES,
    max_size=3,
).map(lambda found: tuple(found.items()))
TEXTS = st.tuples(st.none() | BODIES, st.none() | BODIES).filter(
    lambda pair: pair != (None, None)
)


@st.composite
def specs(draw: st.DrawFn) -> MessageSpec:
    text, html = draw(TEXTS)
    files = draw(
        st.lists(ATTACHMENTS, max_size=3, unique_by=lambda f: f.content_id or id(f))
    )
    return MessageSpec(
        author=draw(MAILBOXES),
        subject=draw(LINES),
        text=text,
        html=html,
        to=draw(LISTS),
        cc=draw(LISTS),
        reply_to=draw(LISTS),
        attachments=tuple(files),
        headers=draw(HEADERS),
    )


def made(spec: MessageSpec) -> Composed:
    return compose(spec, date=DATE, message_id=IDENT, boundary_seed=b"seed")


def read(composed: Composed) -> EmailMessage:
    found = message_from_bytes(composed.octets, _class=EmailMessage, policy=SMTP)
    assert not list(found.defects)
    return found


def names_of(octets: bytes) -> list[bytes]:
    """The field names of a header section, read without any mail library."""
    header = octets.partition(b"\r\n\r\n")[0]
    return [
        line.partition(b":")[0]
        for line in header.split(b"\r\n")
        if not line.startswith((b" ", b"\t"))
    ]


def line_ended(text: str) -> str:
    """``text`` with the line ends that the wire has, and one at its end."""
    text = re.sub(r"\r\n|\r|\n", "\n", text)
    return text if not text or text.endswith("\n") else text + "\n"


def content_of(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def check_addresses(octets: bytes, name: str, given: tuple[Mailbox, ...]) -> None:
    # Python 3.11's modern reader of display names is lossy: it shows the blank between
    # two encoded words (RFC 2047 §6.2 says to drop it). Its older one is right.
    older = message_from_bytes(octets)
    read_back = [
        (address, str(make_header(decode_header(display_name))))
        for display_name, address in getaddresses([older[name]])
    ]
    assert read_back == [(each.address.canonical, each.name) for each in given]


@settings(max_examples=60, deadline=None)
@given(specs())
def test_every_value_comes_back_whole(spec: MessageSpec) -> None:
    if defects_of(spec):
        return
    composed = made(spec)
    found = read(composed)
    assert found["Subject"] == spec.subject
    check_addresses(composed.header, "From", (spec.author,))
    for name, mailboxes in (
        ("To", spec.to),
        ("Cc", spec.cc),
        ("Reply-To", spec.reply_to),
    ):
        if mailboxes:
            check_addresses(composed.header, name, mailboxes)
            assert len(found[name].addresses) == len(mailboxes)
    for name, value in spec.headers:
        assert found[name] == value
    assert found["Date"].datetime == DATE
    assert found["Message-ID"] == IDENT
    leaves = [part for part in found.walk() if not part.is_multipart()]
    texts = [part for part in leaves if part.get_filename() is None]
    assert [content_of(part) for part in texts] == [
        line_ended(text) for text in (spec.text, spec.html) if text is not None
    ]
    files = [part for part in leaves if part.get_filename() is not None]
    assert sorted(
        (part.get_filename(), part.get_payload(decode=True)) for part in files
    ) == sorted((part.filename, part.content) for part in spec.attachments)


@settings(max_examples=60, deadline=None)
@given(specs())
def test_octets_are_strict_and_repeatable(spec: MessageSpec) -> None:
    if defects_of(spec):
        return
    composed = made(spec)
    octets = composed.octets
    assert composed == made(spec)
    assert composed.header.endswith(b"\r\n\r\n")
    assert composed.header.count(b"\r\n\r\n") == 1
    assert octets.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", octets)
    assert octets.isascii()
    lines = octets.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert all(len(line) <= 76 for line in lines if b"=?utf-8?" in line)
    for word in re.findall(rb"=\?utf-8\?[qb]\?[^?]*\?=", composed.header):
        assert len(word) <= 75


#: Each would end a line, start a field, or be decoded into one, for some reader.
CUTS = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x7f",
    "\x85",
    "\x9f",
    "\u2028",
    "\u2029",
    "\ud800",
    "\r\n\r\n",
    "\r\n ",
    "\n\t",
    "\t",
]
TAILS = [
    "",
    "Bcc: evil@example.net",
    "Bcc: evil@example.net\r\n\r\n<b>",
    ", evil@x.com",
]
DECODED_LATER = [
    "=?utf-8?q?=0D=0ABcc:_evil@example.net?=",
    "=?utf-8?b?DQpCY2M6IGV2aWxAZXhhbXBsZS5uZXQ=?=",
    "=?utf-8?q?a?= =?utf-8?q?=0A?=",
    '" <evil@example.net>',
    "evil@example.net, other@example.net",
    "a" * 5000,
    "я" * 3000,
    "a " * 900,
    "; filename=evil.exe",
    '"; filename="evil.exe',
    "\\",
    '"',
    "(",
    "<",
]
PAYLOADS = [f"x{cut}{tail}" for cut in CUTS for tail in TAILS] + DECODED_LATER

PLAIN = MessageSpec(
    Mailbox(parse_address("a@example.com"), "n"),
    "s",
    text="t\n",
    html="<p>h\n",
    to=(Mailbox(parse_address("b@example.com"), "n"),),
    cc=(Mailbox(parse_address("c@example.com"), "n"),),
    reply_to=(Mailbox(parse_address("d@example.com"), "n"),),
    attachments=(
        Attachment("f", "image/png", b"1", "cid"),
        Attachment("g", "image/png", b"2"),
    ),
    headers=(("X-One", "1"), ("List-Unsubscribe", "<https://example.com/u>")),
)


def with_payload(field: str, payload: str) -> MessageSpec:
    """``PLAIN`` with ``payload`` in the place called ``field``."""
    values = {name: getattr(PLAIN, name) for name in PLAIN.__slots__}
    first, second = PLAIN.attachments
    address = PLAIN.author.address
    values |= {
        "from.name": {"author": Mailbox(address, payload)},
        "to.name": {"to": (Mailbox(address, payload),)},
        "cc.name": {"cc": (Mailbox(address, payload),)},
        "reply_to.name": {"reply_to": (Mailbox(address, payload),)},
        "subject": {"subject": payload},
        "text": {"text": payload},
        "html": {"html": payload},
        "headers": {"headers": (("X-One", payload), PLAIN.headers[1])},
        "header name": {"headers": ((f"X-One{payload}", "1"), PLAIN.headers[1])},
        "filename": {"attachments": (first, Attachment(payload, "image/png", b"2"))},
        "content_type": {
            "attachments": (first, Attachment("g", f"image/png{payload}", b"2"))
        },
        "content_id": {
            "attachments": (Attachment("f", "image/png", b"1", payload), second)
        },
    }[field]
    return MessageSpec(**values)


FIELDS = [
    *("from.name", "to.name", "cc.name", "reply_to.name", "subject", "text", "html"),
    *("headers", "header name", "filename", "content_type", "content_id"),
]


def all_names(found: EmailMessage) -> list[list[str]]:
    """The field names of the message and of each part, for an independent reader."""
    return [part.keys() for part in found.walk()]


@cache
def plain_read() -> EmailMessage:
    return read(made(PLAIN))


@pytest.mark.parametrize("field", FIELDS)
def test_no_payload_makes_a_field_a_recipient_or_a_part(field: str) -> None:
    plain = made(PLAIN).octets
    refused = passed = 0
    for payload in PAYLOADS:
        spec = with_payload(field, payload)
        if any(defects_of(spec)):
            refused += 1
            continue
        passed += 1
        octets = made(spec).octets
        assert names_of(octets) == names_of(plain), payload
        found = message_from_bytes(octets, _class=EmailMessage, policy=SMTP)
        assert all_names(found) == all_names(plain_read()), payload
        if field.endswith(".name"):
            name = "reply-to" if field.startswith("reply") else field.partition(".")[0]
            assert len(found[name].addresses) == 1, payload
    # Every payload was judged, and whatever can cut a header-bound value was refused.
    assert refused + passed == len(PAYLOADS)
    if field not in {"text", "html"}:
        assert refused >= len(CUTS) * len(TAILS)


def test_the_oracle_catches_a_composer_that_writes_values_as_they_are() -> None:
    naive = made(PLAIN).octets.replace(
        b"Subject: s\r\n", b"Subject: s\r\nBcc: evil@example.net\r\n"
    )
    assert names_of(naive) != names_of(made(PLAIN).octets)
    found = message_from_bytes(naive, _class=EmailMessage, policy=SMTP)
    assert all_names(found) != all_names(plain_read())
