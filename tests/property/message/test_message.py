"""Any octets: fields and defects never raise, ranges are in order, split loses nothing."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mailwright.address import Address
from mailwright.message import (
    CRLF,
    FromFault,
    _one_mailbox,
    _tokenize,
    defects,
    fields,
    from_mailbox,
    has_stray_line_end,
    split,
    unfold,
)

HEADERISH = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"A", b"From", b"<a@b.cd>", b"\xff"]
    )
    | st.binary(max_size=4),
    max_size=30,
).map(b"".join)


@given(HEADERISH | st.binary(max_size=200))
def test_splitting_loses_nothing(octets):
    header, body = split(octets)
    assert header == CRLF or header.find(b"\r\n\r\n") == len(header) - 4
    joined = header + body
    assert joined in (octets, octets + CRLF, octets + CRLF + CRLF)


@given(HEADERISH)
def test_fields_are_ordered_ranges_that_hold_what_they_say(octets):
    header, _ = split(octets)
    end = 0
    for field in fields(header):
        assert end <= field.start < field.end <= len(header) - 2
        end = field.end
        whole = header[field.start : field.end]
        assert whole.startswith(field.name)
        assert whole.endswith(field.value + CRLF)
        assert field.key == field.name.lower()


@given(HEADERISH)
def test_a_header_is_all_fields_exactly_when_it_has_no_defects(octets):
    header, _ = split(octets)
    covered = sum(field.end - field.start for field in fields(header))
    assert (covered == len(header) - 2) == (defects(header) == ())


MAILBOXISH = st.lists(
    st.sampled_from(
        [
            *(bytes([octet]) for octet in b'a.@<>" ,:\\_[\t'),
            *(b"B c", b'"x,"', b"<a.b@c.de>", b"a@b.cd", b"=?q?=", b"(c)", b"\xc3\xa9"),
        ]
    ),
    max_size=8,
).map(b"".join)


@given(MAILBOXISH)
def test_the_short_way_to_an_author_gives_what_the_grammar_gives(value):
    tokens = _tokenize(unfold(value))
    slow = FromFault.SYNTAX if tokens is None else _one_mailbox(tokens)
    assert from_mailbox(fields(b"From: " + value + b"\r\n\r\n")) == slow


@given(HEADERISH)
def test_any_from_field_gives_an_address_or_a_fault(octets):
    author = from_mailbox(fields(b"From: " + octets + b"\r\n\r\n"))
    assert isinstance(author, Address | FromFault)


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"])).map(b"".join),
    st.integers(1, 5),
)
def test_a_line_end_is_stray_wherever_the_octets_are_cut(octets, piece):
    stray = re.search(rb"\r(?!\n)|(?<!\r)\n", octets) is not None
    assert has_stray_line_end(octets, piece=piece) is stray
