"""Edits change what they report and nothing else.

What was decoded before is decoded after, by Python's own reader; fields after are the
fields before, without the removed, with the added; the same input gives the same output.
"""

import email
import re
from binascii import a2b_qp
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailwright.message import fields, find
from mailwright.mta.edits.intake import MAX_LINE_OCTETS, edit_for_storing, has_long_line
from mailwright.mta.edits.mime import MimeFault, find_leaves
from mailwright.mta.edits.quoted_printable import encode
from mailwright.mta.edits.removals import removal_of
from mailwright.mta.edits.session import edit_for_receiver

AT = datetime(2026, 1, 2, tzinfo=UTC)

LINES = st.lists(
    st.sampled_from([b"text", b".", b"From x", b"=3D ", b"\t", b"--b", b"x" * 999])
    | st.text(max_size=20)
    .map(lambda text: text.replace("\r", "").replace("\n", "").replace("\0", ""))
    .map(str.encode),
    max_size=6,
).map(b"\r\n".join)
NAMES = st.sampled_from(
    [b"To", b"Bcc", b"bcc ", b"Date", b"X-Mailwright-Pool", b"X-Odoo-Objects", b"Cc"]
)
HEADER_FIELDS = st.lists(
    st.tuples(NAMES, st.sampled_from([b" a", b"\r\n b,\r\n\tc", b"", b" \xff"])).map(
        lambda pair: b"%b:%b\r\n" % pair
    ),
    max_size=8,
).map(b"".join)
ENCODINGS = st.sampled_from(
    [
        b"",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"content-transfer-encoding:\r\n 7bit\r\n",
    ]
)
TYPES = st.sampled_from(
    [
        b"",
        b"Content-Type: text/html; charset=utf-8\r\n",
        b"Content-Type: application/octet-stream\r\n",
    ]
)
LEAVES = st.tuples(TYPES, ENCODINGS, LINES).map(b"%b%b\r\n%b".__mod__)


def as_multipart(kind: bytes, parts: list[bytes], level: int) -> bytes:
    # Delimiters differ by level and cannot be among the lines of a leaf.
    delimiter = b"--=_%d_boundary" % level
    body = b"".join(b"\r\n%b\r\n%b" % (delimiter, part) for part in parts)
    head = b'Content-Type: multipart/%b; boundary="=_%d_boundary"\r\n\r\n'
    return head % (kind, level) + body + b"\r\n" + delimiter + b"--\r\n"


def multiparts(inner: st.SearchStrategy[bytes], level: int) -> st.SearchStrategy[bytes]:
    kinds = st.sampled_from([b"mixed", b"alternative", b"signed"])
    return st.builds(
        lambda kind, parts: as_multipart(kind, parts, level),
        kinds,
        st.lists(inner, min_size=1, max_size=3),
    )


CONTENTS = LEAVES | multiparts(LEAVES | multiparts(LEAVES, 1), 0)


def whole(header: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Return a message with ``header`` before the fields of ``content``."""
    own, _, body = content.partition(b"\r\n\r\n")
    if content.startswith(b"\r\n"):
        return header + b"\r\n", content[2:]
    return header + own + b"\r\n\r\n", body


def read(header: bytes, body: bytes) -> list[tuple[str, bytes]]:
    """Return the type and the decoded octets of each leaf, as Python reads them."""
    message = email.message_from_bytes(header + body)
    return [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in message.walk()
        if not part.is_multipart()
    ]


@given(st.binary() | LINES)
def test_quoted_printable_gives_every_octet_back(text):
    encoded = encode(text)
    assert a2b_qp(encoded) == text
    lines = encoded.split(b"\r\n")
    assert all(len(line) <= 76 for line in lines)
    assert not any(line.startswith((b".", b"From ")) for line in lines)
    assert not any(line.endswith((b" ", b"\t")) for line in lines)
    assert encoded.isascii()


@given(HEADER_FIELDS, CONTENTS)
def test_every_reader_decodes_what_was_handed_in(header, content):
    # Python's reader ends a header at a blank before the colon.
    header = b"MIME-Version: 1.0\r\n" + header.replace(b" :", b":")
    header, body = whole(header, content)
    before = read(header, body)
    stored = edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    assert read(stored.header, stored.body) == before
    sent = edit_for_receiver(stored.header, stored.body, has_8bitmime=False)
    assert read(sent[0], sent[1]) == before


@given(HEADER_FIELDS, CONTENTS)
def test_fields_are_those_before_without_the_removed_with_the_added(header, content):
    header, body = whole(header, content)
    before = fields(header)
    stored = edit_for_storing(
        header, body, prepend=(b"Received: x\r\n",), date=AT, message_id="<1@x.yz>"
    )
    expected = Counter(f.key for f in before if removal_of(f.key) is None)
    expected[b"received"] += 1
    expected[b"message-id"] += 1  # never among those generated
    expected[b"date"] = max(expected[b"date"], 1)
    after = Counter(field.key for field in fields(stored.header))
    if stored.body != body:
        # Re-encoding says how, where the leaf itself had not said so before.
        expected[b"mime-version"] = 1
        expected[b"content-transfer-encoding"] = after[b"content-transfer-encoding"]
    assert after == expected


@given(HEADER_FIELDS, CONTENTS)
def test_nothing_else_changes(header, content):
    header, body = whole(header, content)
    stored = edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    if not has_long_line(body):
        assert stored.body == body
        kept = [
            header[field.start : field.end]
            for field in fields(header)
            if removal_of(field.key) is None
        ]
        assert stored.header.endswith(b"".join((*kept, b"\r\n")))
    assert edit_for_receiver(stored.header, stored.body, has_8bitmime=True) == (
        stored.header,
        stored.body,
        (),
    )


@given(HEADER_FIELDS, CONTENTS)
def test_the_same_input_gives_the_same_octets(header, content):
    header, body = whole(header, content)
    once = edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    assert once == edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    sent = edit_for_receiver(once.header, once.body, has_8bitmime=False)
    assert sent == edit_for_receiver(once.header, once.body, has_8bitmime=False)
    # What was edited needs no editing: a second pass only repeats what it keeps.
    again = edit_for_receiver(sent[0], sent[1], has_8bitmime=False)
    assert again[:2] == sent[:2]


@given(HEADER_FIELDS, CONTENTS)
def test_line_ends_stay_whole(header, content):
    header, body = whole(header, content)
    stored = edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    sent = edit_for_receiver(stored.header, stored.body, has_8bitmime=False)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", sent[0] + sent[1])


@given(HEADER_FIELDS, CONTENTS)
def test_what_is_left_unfit_is_reported(header, content):
    header, body = whole(header, content)
    stored = edit_for_storing(header, body, date=AT, message_id="<1@x.yz>")
    is_kept = any(edit.startswith("kept") for edit in stored.edits)
    assert is_kept == any(
        len(line) > MAX_LINE_OCTETS for line in stored.body.split(b"\r\n")
    )
    _, body, edits = edit_for_receiver(stored.header, stored.body, has_8bitmime=False)
    assert body.isascii() != any(edit.startswith("kept") for edit in edits)


MIMEISH = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b"--",
            b"b",
            b"--b\r\n",
            b"--b--\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: text/plain\r\n",
            b"Content-Transfer-Encoding: 8bit\r\n",
            b"\xe9",
            b"\r",
            b"\n",
        ]
    ),
    max_size=40,
).map(b"".join)


@given(MIMEISH)
def test_any_octets_have_leaves_in_order_or_a_fault(octets):
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    found = find_leaves(header, octets)
    if isinstance(found, MimeFault):
        return
    end = 0
    for leaf in found:
        assert end <= leaf.header_start <= leaf.body_start <= leaf.body_end
        end = leaf.body_end
        if leaf.encoding_field is not None:
            start, stop = leaf.encoding_field
            assert leaf.header_start <= start < stop <= leaf.body_start - 2
    assert end <= len(header + octets)


@given(MIMEISH)
def test_editing_any_octets_ends_in_a_message(octets):
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    stored = edit_for_storing(header, octets, date=AT, message_id="<1@x.yz>")
    after, _, _ = edit_for_receiver(stored.header, stored.body, has_8bitmime=False)
    assert after.endswith(b"\r\n\r\n")
    assert len(find(fields(after), b"content-type")) == 1
