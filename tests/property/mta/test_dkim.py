"""What we sign, others verify; the relaxed forms are those of the RFC, read literally."""

import re

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.accounts.signing_keys import DkimSecret
from mailwright.message import split
from mailwright.mta.dkim.canonical import (
    relaxed_body,
    relaxed_field,
    relaxed_pieces,
)
from mailwright.mta.dkim.records import parse_record, record_text
from mailwright.mta.dkim.signing import SIGNED_FIELDS, sign

SPACED = st.lists(
    st.sampled_from([b"\r\n", b" ", b"\t", b"a", b".", b" " * 40, b"\xff", b"  \r\n"]),
    max_size=30,
).map(b"".join)
RAGGED = st.lists(
    st.sampled_from([b"\r\n", b" ", b"\t", b"\r", b"\n", b"a", b"\x0b"]), max_size=20
).map(b"".join)
WORDS = st.sampled_from(
    [b"x", b" ", b"\t", b"\r\n ", b"\r\n\t", b"\xd0\xb9", b":", b";"]
)
VALUES = st.lists(WORDS, max_size=8).map(b"".join).map(lambda value: value + b"y")
FIELDS = st.tuples(
    st.sampled_from([name.encode() for name in SIGNED_FIELDS[1:]] + [b"X-a"]), VALUES
).map(lambda pair: b"%b:%b\r\n" % pair)
HEADERS = st.lists(FIELDS, max_size=8).map(
    lambda rows: b"".join((b"From: <a@example.com>\r\n", *rows, b"\r\n"))
)
KEY = DkimSecret(
    "ed25519-sha256",
    "example.com",
    "e1",
    Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
)
RECORD = record_text(KEY.private_key).encode()


def verifies(content: bytes) -> bool:
    # On the wire every line ends in CRLF, so that is what arrives.
    content += b"" if content.endswith(b"\r\n") else b"\r\n"
    try:
        return dkim.DKIM(content).verify(dnsfunc=lambda *_, **__: RECORD)
    except dkim.ValidationError:
        return False


@given(RAGGED | SPACED)
def test_the_relaxed_body_is_that_of_rfc_6376_section_3_4_4(body):
    literal = re.sub(rb"[ \t]+(?=\r\n|\Z)", b"", body)
    literal = re.sub(rb"[ \t]+", b" ", literal)
    literal = re.sub(rb"(?:\r\n)+\Z", b"", literal)
    assert relaxed_body(body) == (literal + b"\r\n" if literal else b"")


@given(RAGGED | SPACED, st.integers(1, 20))
def test_working_piece_by_piece_changes_nothing(body, octets):
    whole = b"".join(relaxed_pieces(body, octets=1000))
    assert b"".join(relaxed_pieces(body, octets=octets)) == whole


@given(VALUES | RAGGED)
def test_the_relaxed_field_is_that_of_rfc_6376_section_3_4_2(value):
    literal = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b""))
    assert relaxed_field(b"x", value) == b"x:" + literal.strip(b" ")


@settings(max_examples=60)
@given(HEADERS, SPACED)
def test_dkimpy_verifies_whatever_we_sign(header, body):
    assert verifies(sign(header, body, KEY, signed_at=1) + header + body)


@settings(max_examples=60)
@given(HEADERS, SPACED, st.data())
def test_any_added_signed_field_breaks_the_signature(header, body, data):
    content = sign(header, body, KEY, signed_at=1) + header + body
    name = data.draw(st.sampled_from(SIGNED_FIELDS)).encode()
    added = name + b": evil\r\n"
    assert not verifies(added + content)
    end = len(split(content)[0]) - 2
    assert not verifies(content[:end] + added + content[end:])


@settings(max_examples=60)
@given(HEADERS, SPACED, st.data())
def test_any_other_octet_in_the_body_breaks_the_signature(header, body, data):
    content = sign(header, body, KEY, signed_at=1) + header
    at = data.draw(st.integers(0, len(body)))
    assert not verifies(content + body[:at] + b"!" + body[at:])


@given(
    st.binary(max_size=100)
    | st.text(alphabet="vkp=;DKIM1 :\r\n", max_size=60).map(str.encode)
)
def test_any_octets_are_a_record_or_none(octets):
    record = parse_record(octets)
    assert record is None or record.key_type == record.key_type.lower()
