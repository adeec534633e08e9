import re
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailwright.mta.dkim.records import (
    Verdict,
    compare,
    is_selector,
    parse_record,
    record_name,
    record_text,
    zone_line,
)

# RFC 8463 appendix A.2: the key pair of the example.
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLISHED = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@pytest.fixture(scope="module")
def key():
    return generate_private_key(65_537, 2048)


@pytest.fixture(scope="module")
def text(key):
    return record_text(key).encode()


def test_the_record_of_an_ed25519_key_is_that_of_rfc_8463():
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
    assert record_text(key).encode() == PUBLISHED
    assert compare([PUBLISHED], key).verdict is Verdict.MATCHES


def test_the_record_stands_below_the_domain():
    assert record_name("example.com", "s1") == "s1._domainkey.example.com"


def test_a_zone_file_gets_strings_of_at_most_255_characters(key, text):
    line = zone_line("example.com", "s1", key)
    assert line.startswith("s1._domainkey.example.com. IN TXT ( ")
    strings = re.findall(r'"([^"]*)"', line)
    assert all(len(string) <= 255 for string in strings)
    assert "".join(strings).encode() == text
    assert len(strings) == 2


@pytest.mark.parametrize("name", ["s1", "2026-01", "news.s1", "a_b", "x" * 63])
def test_a_selector(name):
    assert is_selector(name)


@pytest.mark.parametrize(
    "name", ["", "S1", "-a", "a-", "a..b", ".a", "a b", "ü", "x" * 64]
)
def test_no_selector(name):
    assert not is_selector(name)


def test_a_record_is_read_with_its_restrictions():
    record = parse_record(
        b" v = DKIM1 ;\t h= sha1 : SHA256;k=RSA; s=email:*; t=y:s; n=note; p= AA\r\n AA ;"
    )
    assert record is not None
    assert record.key_type == "rsa"
    assert record.public == b"\0\0\0"
    assert record.hashes == {"sha1", "sha256"}
    assert record.services == {"email", "*"}
    assert record.is_testing


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"v=DKIM1",
        b"v=DKIM2; p=AAAA",
        b"p=AAAA; v=DKIM1",
        b"v=DKIM1; p=AAAA; p=AAAA",
        b"v=DKIM1; p=!!!!",
        b"v=DKIM1; p=AAA",
        b"v=DKIM1; ; p=AAAA",
        b"v=DKIM1; 1a=b; p=AAAA",
        b"v=DKIM1; p=AAAA; \xff",
        b"v=DKIM1; p=" + b"A" * 10_000,
        b";" * 5000,
    ],
)
def test_garbage_is_no_record(octets):
    assert parse_record(octets) is None


def bare(key) -> bytes:
    """The form that RFC 6376 §3.6.1 names: RSAPublicKey without its wrapping."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return b"p=" + b64encode(der)


def test_the_published_record_matches_its_key(key, text):
    assert compare([text], key).is_good
    assert compare([bare(key)], key).is_good
    assert compare([b"v=spf1 -all", text, b"site-proof=1"], key).is_good


def test_a_test_mark_is_told(key, text):
    found = compare([text + b"; t=y"], key)
    assert found.is_good
    assert "t=y" in found.note


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([], Verdict.ABSENT),
        ([b"v=spf1 -all"], Verdict.ABSENT),
        ([b"some text"], Verdict.ABSENT),
        ([b"v=DKIM1; p="], Verdict.REVOKED),
        ([b"v=DKIM1; p=AAAA"], Verdict.OTHER_KEY),
        ([PUBLISHED], Verdict.OTHER_KEY),
        ([b"v=DKIM1; p=AAAA; p=BBBB"], Verdict.MALFORMED),
        ([b"v=DKIM1; k=rsa"], Verdict.MALFORMED),
        ([b"v=DKIM1; p=%%%"], Verdict.MALFORMED),
    ],
)
def test_a_record_that_does_not_match_says_how(records, verdict, key):
    found = compare(records, key)
    assert found.verdict is verdict
    assert not found.is_good


def test_records_that_cannot_be_used_say_why(key, text):
    other = record_text(generate_private_key(65_537, 2048)).encode()
    assert compare([other], key).verdict is Verdict.OTHER_KEY
    assert compare([text, other], key).verdict is Verdict.SEVERAL
    assert compare([text + b"; h=sha1"], key).verdict is Verdict.UNUSABLE
    assert compare([text + b"; s=tlsrpt"], key).verdict is Verdict.UNUSABLE
    assert compare([text + b"; h=sha1:sha256; s=email"], key).is_good
