import hashlib
import itertools
import re
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from fakes.slowness import is_in_proportion
from mailwright.message import Field, fields, find, split, unfold
from mailwright.mta.dkim.canonical import (
    body_hash,
    relaxed_body,
    relaxed_field,
    relaxed_pieces,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "dkim"


def test_the_example_of_rfc_6376_section_3_4_5():
    header, body = split(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n")
    assert [relaxed_field(f.key, f.value) for f in fields(header)] == [b"a:X", b"b:Y Z"]
    assert relaxed_body(body) == b" C\r\nD E\r\n"


@pytest.mark.parametrize(
    ("body", "relaxed"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n", b""),
        (b" \t\r\n  \r\n", b""),
        (b" ", b""),
        (b"a", b"a\r\n"),
        (b"a \t", b"a\r\n"),
        (b"a\r\n \r\n\r\n", b"a\r\n"),
        (b"\r\na", b"\r\na\r\n"),
        (b"a" + b" " * 1000 + b"b" + b"\t \t" * 50 + b"\r\n", b"a b\r\n"),
        # What no door accepts is still octets: only CRLF is a line end.
        (b"a\r", b"a\r\r\n"),
        (b"a\n\r\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n"),
        (b"\n", b"\n\r\n"),
        (b"a\x0b\x0c b", b"a\x0b\x0c b\r\n"),
    ],
)
def test_the_relaxed_form_of_a_body(body, relaxed):
    assert relaxed_body(body) == relaxed


@pytest.mark.parametrize(
    ("value", "relaxed"),
    [
        (b"", b"x:"),
        (b" ", b"x:"),
        (b"  a \t b  ", b"x:a b"),
        (b" a\r\n\t b\r\n ", b"x:a b"),
        (b"\x0ba\x0c", b"x:\x0ba\x0c"),
        (b" a\r b\n c", b"x:a\r b\n c"),
    ],
)
def test_the_relaxed_form_of_a_field(value, relaxed):
    assert relaxed_field(b"x", value) == relaxed


def test_the_hash_of_an_empty_body_is_that_of_no_octets():
    # RFC 6376 §3.4.4, erratum 1378.
    assert body_hash(b"\r\n") == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_hash_of_the_body_in_rfc_6376_appendix_a():
    body = b"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"
    assert body_hash(body) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="


def signed_octets(found: tuple[Field, ...], signature: Field) -> bytes:
    """Return what a signature covers, put together from our relaxed forms."""
    tags = unfold(signature.value)
    [names] = re.findall(rb"; h=([^;]+)", tags)
    left = {field.key: find(found, field.key) for field in found}
    lines = []
    for name in names.replace(b" ", b"").lower().split(b":"):
        if left.get(name):
            field = left[name].pop()  # bottom-up, §5.4.2
            lines.append(relaxed_field(field.key, field.value))
    unsigned = re.sub(rb"(; b=)[^;]*", rb"\1", unfold(signature.value))
    return b"\r\n".join((*lines, relaxed_field(b"dkim-signature", unsigned)))


def test_the_signatures_of_rfc_8463_appendix_a_cover_our_relaxed_forms():
    octets = (GOLDEN / "rfc8463-a.eml").read_bytes().replace(b"\n", b"\r\n")
    header, body = split(octets)
    found = fields(header)
    ed25519, rsa = find(found, b"dkim-signature")
    for signature in (ed25519, rsa):
        assert b"bh=" + body_hash(body) + b";" in signature.value
    records = (GOLDEN / "rfc8463-a.txt").read_text().split()
    public = Ed25519PublicKey.from_public_bytes(b64decode(records[0]))
    digest = hashlib.sha256(signed_octets(found, ed25519)).digest()
    public.verify(value_of(ed25519), digest)
    public = load_der_public_key(b64decode(records[1]))
    assert isinstance(public, RSAPublicKey)
    public.verify(value_of(rsa), signed_octets(found, rsa), PKCS1v15(), SHA256())


def value_of(signature: Field) -> bytes:
    [value] = re.findall(rb"; b=([^;]+)", unfold(signature.value))
    return b64decode(value.replace(b" ", b""))


@pytest.mark.parametrize(
    "body",
    [
        b" " * 4_000_000 + b"x",
        b" \t" * 2_000_000,
        b"\r\n" * 2_000_000,
        b"\r\n" * 2_000_000 + b"\n\r\n",
        b" \r\n" * 1_000_000,
        b"a  " * 1_000_000,
    ],
    ids=range(6),
)
def test_bodies_made_to_be_slow_take_time_in_proportion(body):
    assert is_in_proportion(lambda octets: relaxed_body(body[:octets]), len(body))


@pytest.mark.parametrize("octets", [1, 2, 3])
def test_where_a_body_is_cut_makes_no_difference(octets):
    for length in range(8):
        for each in itertools.product(b"a \r\n", repeat=length):
            body = bytes(each).replace(b"a  ", b"a\t ")
            pieces = relaxed_pieces(body, octets=octets)
            assert b"".join(pieces) == relaxed_body(body), body


@pytest.mark.parametrize(
    "unit", [b"\r\n", b" \r\n", b" ", b"\t", b"x", b"x\r\n", b"\r", b"\n"], ids=range(8)
)
def test_no_piece_is_large(unit):
    body = unit * (3_000_000 // len(unit))
    for ended in (body, body + b"x\r\n"):
        assert max(map(len, relaxed_pieces(ended)), default=0) <= 4 * 65_536
