import re

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mailwright.accounts.signing_keys import DkimSecret
from mailwright.message import fields, split, unfold
from mailwright.mta.dkim.signing import (
    SIGNED_FIELDS,
    UnsignableError,
    sign,
    sign_all,
)

AT = 1_767_323_045
MESSAGE = (
    b"Received: from here\r\n\tby there\r\n"
    b"From: Anna <anna@example.com>\r\n"
    b"To: b@example.org\r\n"
    b"Cc: c@example.org\r\n"
    b"Cc: d@example.org,\r\n e@example.org\r\n"
    b"Subject: \xd0\x9f\xd1\x80 =?utf-8?q?=F0=9F=98=80?=\r\n"
    b"Date: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
    b"Message-ID: <1@example.com>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"List-Unsubscribe: <https://example.com/u/1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"X-Other: not signed\r\n"
    b"\r\n"
    b"Hello \t there  \r\n.\r\n\xd0\x9f\xd1\x80\r\n\r\n\r\n"
)


def signed(key: DkimSecret, content: bytes = MESSAGE) -> bytes:
    header, body = split(content)
    return sign(header, body, key, signed_at=AT) + content


def verifies(content: bytes, records, index: int = 0) -> bool:
    try:
        return dkim.DKIM(content).verify(index, dnsfunc=records)
    except dkim.DKIMException:
        return False


def tags_of(signature: bytes) -> dict[str, str]:
    value = unfold(fields(signature)[0].value).decode().replace(" ", "")
    return dict(tag.split("=", 1) for tag in value.split(";"))


def test_dkimpy_verifies_what_is_signed_with_rsa(rsa_key, records):
    assert verifies(signed(rsa_key), records)


def test_dkimpy_verifies_what_is_signed_with_ed25519(ed25519_key, records):
    assert verifies(signed(ed25519_key), records)


def test_several_signatures_do_not_cover_each_other(rsa_key, ed25519_key, records):
    header, body = split(MESSAGE)
    both = sign_all(header, body, (rsa_key, ed25519_key), signed_at=AT)
    assert both == sign(header, body, rsa_key, signed_at=AT) + sign(
        header, body, ed25519_key, signed_at=AT
    )
    assert verifies(both + MESSAGE, records, 0)
    assert verifies(both + MESSAGE, records, 1)


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n", b"no line end", b"a\r\n\r\n \r\n"]
)
def test_bodies_at_the_edges_verify(body, rsa_key, records):
    assert verifies(signed(rsa_key, b"From: a@example.com\r\n\r\n" + body), records)


def test_the_example_of_rfc_6376_appendix_a_verifies_when_we_sign_it(rsa_key, records):
    content = (
        b"From: Joe SixPack <joe@football.example.com>\r\n"
        b"To: Suzie Q <suzie@shopping.example.net>\r\n"
        b"Subject: Is dinner ready?\r\n"
        b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n"
        b"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"
    )
    whole = signed(rsa_key, content)
    assert verifies(whole, records)
    assert tags_of(whole)["bh"] == "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="


def test_the_tags_are_these_and_no_others(rsa_key):
    tags = tags_of(signed(rsa_key))
    assert list(tags) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
    assert tags["v"] == "1"
    assert tags["a"] == "rsa-sha256"
    assert tags["c"] == "relaxed/relaxed"
    assert tags["d"] == "example.com"
    assert tags["s"] == "s1"
    assert tags["t"] == str(AT)


def test_each_field_is_listed_once_more_than_it_is_present(rsa_key):
    listed = tags_of(signed(rsa_key))["h"].lower().split(":")
    present = [field.key.decode() for field in fields(split(MESSAGE)[0])]
    for name in map(str.lower, SIGNED_FIELDS):
        assert listed.count(name) == present.count(name) + 1
    assert set(listed) == set(map(str.lower, SIGNED_FIELDS))


@pytest.mark.parametrize("copies", [1, 2, 3, 30])
def test_each_of_repeated_fields_is_covered(copies, rsa_key, records):
    many = b"".join(b"To: %d@example.org\r\n" % number for number in range(copies))
    whole = signed(rsa_key, b"From: a@example.com\r\n" + many + b"\r\nbody\r\n")
    assert verifies(whole, records)
    for number in (0, copies - 1):
        changed = whole.replace(b"\r\nTo: %d@" % number, b"\r\nTo: x@")
        assert not verifies(changed, records)


def test_no_line_is_over_78_octets(rsa_key, ed25519_key):
    for key in (rsa_key, ed25519_key):
        field, _, _ = signed(key).partition(b"\r\nReceived")
        assert max(map(len, field.split(b"\r\n"))) <= 78


def test_signing_again_gives_the_same_octets(rsa_key, ed25519_key):
    assert signed(rsa_key) == signed(rsa_key)
    assert signed(ed25519_key) == signed(ed25519_key)


def first_body_line(content: bytes, line: bytes) -> bytes:
    header, body = split(content)
    return header + line + body


TAMPERINGS = {
    "a second Subject on top": lambda m: b"Subject: evil\r\n" + m,
    "a second From on top": lambda m: b"From: ceo@example.com\r\n" + m,
    "a second From at the end": lambda m: m.replace(
        b"X-Other:", b"From: ceo@example.com\r\nX-Other:"
    ),
    "a second List-Unsubscribe on top": lambda m: (
        b"List-Unsubscribe: <https://evil.example>\r\n" + m
    ),
    "a Reply-To that was absent": lambda m: b"Reply-To: evil@example.net\r\n" + m,
    "a Content-Transfer-Encoding that was absent": lambda m: (
        b"Content-Transfer-Encoding: base64\r\n" + m
    ),
    "a second Content-Type on top": lambda m: (
        b"Content-Type: multipart/mixed; boundary=x\r\n" + m
    ),
    "another Subject": lambda m: m.replace(b"Subject: ", b"Subject: Re: "),
    "no To": lambda m: m.replace(b"To: b@example.org\r\n", b""),
    "the two Cc exchanged": lambda m: m.replace(
        b"Cc: c@example.org\r\nCc: d@example.org,\r\n e@example.org\r\n",
        b"Cc: d@example.org,\r\n e@example.org\r\nCc: c@example.org\r\n",
    ),
    "text after the body": lambda m: m + b"evil\r\n",
    "text before the body": lambda m: first_body_line(m, b"evil\r\n"),
    "a word of the body": lambda m: m.replace(b"Hello", b"Hullo"),
    "a body cut off": lambda m: m[: m.index(b".\r\n")],
    "another date of signing": lambda m: m.replace(b"t=%d" % AT, b"t=%d" % (AT + 1)),
    "l= added": lambda m: m.replace(b"; t=", b"; l=1; t=", 1),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_breaks_the_signature(how, rsa_key, records):
    whole = signed(rsa_key)
    tampered = TAMPERINGS[how](whole)
    assert tampered != whole
    assert not verifies(tampered, records)


def test_a_careless_signer_lets_tampering_pass(rsa_key, records):
    """The control: the same tamperings find what dkimpy's defaults leave open."""
    pem = rsa_key.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    careless = dkim.DKIM(MESSAGE).sign(b"s1", b"example.com", pem) + MESSAGE
    assert verifies(careless, records)
    passed = {how for how in TAMPERINGS if verifies(TAMPERINGS[how](careless), records)}
    assert "a second Subject on top" in passed
    assert "a second List-Unsubscribe on top" in passed
    assert "a word of the body" not in passed


def test_what_relays_change_does_not_break_the_signature(rsa_key, records):
    whole = signed(rsa_key)
    relayed = b"Received: by another\r\nX-Spam: no\r\n" + whole
    assert verifies(relayed, records)
    assert verifies(whole.replace(b"To: b@", b"To:   b@"), records)
    assert verifies(whole + b"\r\n\r\n", records)


def test_a_message_without_from_is_not_signed(rsa_key):
    with pytest.raises(UnsignableError, match="From"):
        sign(b"To: b@example.org\r\n\r\n", b"", rsa_key, signed_at=AT)


def test_a_key_that_does_not_fit_signs_nothing(rsa_key, ed25519_key):
    weak = generate_private_key(65_537, 1024)  # noqa: S505  it is to be refused
    for key in (
        DkimSecret("rsa-sha256", "example.com", "s1", weak),
        DkimSecret("ed25519-sha256", "example.com", "s1", rsa_key.private_key),
        DkimSecret("rsa-sha256", "example.com", "s1", ed25519_key.private_key),
        DkimSecret("rsa-sha1", "example.com", "s1", rsa_key.private_key),
    ):
        with pytest.raises(UnsignableError, match="s1 does not fit"):
            sign(*split(MESSAGE), key, signed_at=AT)
    with pytest.raises(UnsignableError):
        # One key that fails leaves no signature at all.
        sign_all(*split(MESSAGE), (rsa_key, key), signed_at=AT)


def test_the_signed_names_are_those_that_readers_and_machines_act_on():
    names = {name.lower() for name in SIGNED_FIELDS}
    assert len(names) == len(SIGNED_FIELDS) == 19
    # RFC 6376 §5.4.1: what is changed on the way is not signed.
    assert not names & {"received", "return-path", "dkim-signature", "comments"}
    assert not [name for name in names if re.search(r"[^a-z-]", name)]
