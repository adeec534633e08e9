from datetime import UTC, datetime

import pytest

from mailwright.message import fields, split
from mailwright.mta.edits.intake import Stored, edit_for_storing, has_long_line
from mailwright.mta.edits.reencoding import MAX_TEXT_OCTETS
from mailwright.mta.edits.removals import REMOVALS, removal_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
LONG = b"x" * 999


def stored(content: bytes, **arguments: object) -> Stored:
    header, body = split(content)
    settings = {"date": AT, "message_id": "<fresh@example.com>", **arguments}
    return edit_for_storing(header, body, **settings)


def test_a_message_that_needs_nothing_is_stored_as_it_came():
    content = b"From: a@example.com\r\n" + ID + b"\r\nbody \t\r\n\r\n"
    after = stored(content)
    assert after.header + after.body == content
    assert after.edits == ()
    assert after.controls == ()
    assert after.message_id == "<1@example.com>"


def test_given_fields_come_first():
    after = stored(ID + b"\r\n", prepend=(b"Received: 1\r\n", b"X: 2\r\n"))
    assert after.header == b"Received: 1\r\nX: 2\r\n" + ID + b"\r\n"


def test_a_given_field_without_its_crlf_is_a_bug():
    with pytest.raises(ValueError, match="CRLF"):
        stored(b"\r\n", prepend=(b"Received: 1",))
    with pytest.raises(ValueError, match="time zone"):
        stored(b"\r\n", date=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "name",
    [
        b"Bcc",
        b"BCC",
        b"bcc \t",
        b"Resent-Bcc",
        b"Return-Path",
        b"Content-Length",
        b"X-Mailwright-Anything",
        b"X-SMTPAPI",
        b"X-Mailgun-Tag",
        b"X-UNIONE",
        b"X-MSYS-API",
        b"X-Sending-Zone",
    ],
)
def test_fields_that_must_not_leave_are_removed_whole(name):
    after = stored(ID + name + b": a,\r\n\tb\r\n  c\r\nTo: d\r\n\r\nBcc: text\r\n")
    assert after.header == ID + b"To: d\r\n\r\n"
    assert after.body == b"Bcc: text\r\n"
    assert after.edits == (f"removed {name.decode().strip()}",)


@pytest.mark.parametrize(
    "name",
    [b"X-CampTrackID", b"X-Queue-Item-Id", b"X-EMAIL-ID", b"X-Odoo-Objects", b"X-Bcc"],
)
def test_fields_by_which_a_crm_knows_its_mail_stay(name):
    content = ID + name + b": 1\r\n\r\n"
    assert stored(content).header == content


def test_removals_of_one_name_are_reported_together():
    after = stored(ID + b"Bcc: a\r\nBcc: b\r\nReturn-Path: <>\r\n\r\n")
    assert after.edits == ("removed Bcc (2 times)", "removed Return-Path")


def test_the_report_is_bounded():
    many = b"".join(b"X-Mailwright-%d: 1\r\n" % number for number in range(1000))
    after = stored(ID + many + b"X-Mailgun-" + b"y" * 500 + b": 1\r\n\r\n")
    assert len(after.edits) == 51
    assert after.edits[-1] == "removed 951 more fields"
    assert max(map(len, after.edits)) < 100


def test_values_of_control_fields_are_handed_on():
    after = stored(
        ID + b'X-Mailwright-Tags: a,\r\n b \r\nBcc: c\r\nx-smtpapi: {"\xff"}\r\n\r\n'
    )
    assert after.controls == (("X-Mailwright-Tags", "a, b"), ("x-smtpapi", '{"�"}'))


def test_every_removal_says_why_and_is_found():
    for removal in REMOVALS:
        assert removal.reason
        assert removal.key == removal.key.lower()
        assert removal_of(removal.key + b"x" * removal.is_family) is removal


def test_a_missing_date_and_message_id_are_added_on_top():
    after = stored(b"From: a\r\n\r\n", prepend=(b"Received: 1\r\n",))
    assert after.header == (
        b"Received: 1\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
        b"Message-ID: <fresh@example.com>\r\nFrom: a\r\n\r\n"
    )
    assert after.edits == ("added Date", "added Message-ID")
    assert after.message_id == "<fresh@example.com>"


def test_a_message_id_is_made_only_when_it_is_needed():
    made = []
    stored(b"Message-Id : <1@example.com>\r\n\r\n", message_id=lambda: made.append(1))
    assert not made


def test_the_first_message_id_counts():
    after = stored(b"Message-ID:\r\n <1@x.yz>\r\nMessage-ID: <2@x.yz>\r\n\r\n")
    assert after.message_id == "<1@x.yz>"


@pytest.mark.parametrize(
    ("octets", "is_long"),
    [
        (b"", False),
        (b"x" * 998, False),
        (b"x" * 999, True),
        (b"x" * 998 + b"\r\n" + b"x" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        (b"\r\n" * 3000 + b"x" * 999, True),
        (b"x\r\n" * 700 + b"x" * 998, False),
        (b"x" * 500 + b"\r\n" + b"x" * 999 + b"\r\n" + b"x\r\n" * 1000, True),
    ],
)
def test_a_line_is_long_from_999_octets_without_its_crlf(octets, is_long):
    assert has_long_line(octets) == is_long


def test_text_with_a_long_line_becomes_quoted_printable():
    content = b"From: a@example.com\r\nMIME-Version: 1.0\r\n" + ID
    after = stored(content + b"\r\n" + LONG + b"\r\n")
    assert after.header == (
        content + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    assert max(map(len, after.body.split(b"\r\n"))) <= 76
    assert after.body.replace(b"=\r\n", b"") == LONG + b"\r\n"
    assert after.edits == (
        "re-encoded as quoted-printable: lines over 998 octets in 1 part",
    )


def test_a_message_without_mime_version_gets_one_with_the_encoding():
    after = stored(ID + b"\r\n" + LONG)
    assert [field.name for field in fields(after.header)][-2:] == [
        b"MIME-Version",
        b"Content-Transfer-Encoding",
    ]
    assert after.edits[-1] == "added MIME-Version"


def part(header: bytes, body: bytes) -> bytes:
    return b"--b\r\n" + header + b"\r\n" + body + b"\r\n"


MIXED = (
    b"From: Anna <a@example.com>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n' + ID
)


def test_only_the_leaves_with_a_long_line_change():
    short = part(b"Content-Type: text/plain\r\n", b"short = line\r\n")
    pdf = part(b"Content-Type: application/pdf\r\n", LONG)
    html = b"Content-Type: text/html\r\nContent-Transfer-Encoding : 7bit\r\nX: y\r\n"
    after = stored(
        MIXED + b"\r\n" + short + part(html, b"one\r\n" + LONG) + pdf + b"--b--\r\n"
    )
    assert after.header == MIXED + b"\r\n"
    quoted = b"one\r\n" + b"=\r\n".join([b"x" * 73] * 13) + b"=\r\n" + b"x" * 50
    html = html.replace(
        b"Content-Transfer-Encoding : 7bit",
        b"Content-Transfer-Encoding: quoted-printable",
    )
    assert after.body == short + part(html, quoted) + pdf + b"--b--\r\n"
    assert after.edits == (
        "re-encoded as quoted-printable: lines over 998 octets in 1 part",
        "kept lines over 998 octets in 1 part: not plain text",
    )


@pytest.mark.parametrize(
    ("header", "body", "reason"),
    [
        (
            b"Content-Type: multipart/signed; boundary=b\r\n",
            part(b"", LONG) + b"--b--\r\n",
            " in 1 part: inside multipart/signed",
        ),
        (
            b"Content-Type: multipart/encrypted; boundary=b\r\n",
            part(b"", LONG) + b"--b--\r\n",
            " in 1 part: inside multipart/encrypted",
        ),
        (
            b"Content-Type: application/pkcs7-mime\r\n",
            LONG,
            " in 1 part: not plain text",
        ),
        (
            b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n",
            LONG,
            " in 1 part: not plain text",
        ),
        (b"no field\r\n", LONG, " in 1 part: not plain text"),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            LONG + b"\r\n" + part(b"", b"text") + b"--b--\r\n",
            ": outside every part",
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"--b\r\nno empty line\r\n--b--\r\n\r\n" + LONG,
            ": broken MIME",
        ),
        (
            b"DKIM-Signature: v=1; a=rsa-sha256;\r\n d = EXAMPLE.com; h=from\r\n",
            LONG,
            ": signed by the author's domain",
        ),
        (
            b"DKIM-Signature: v=1; d=mail.example.com; h=from\r\n",
            LONG,
            ": signed by the author's domain",
        ),
    ],
)
def test_what_is_covered_or_no_text_goes_as_it_is(header, body, reason):
    content = b"From: a@example.com\r\n" + header + ID + b"\r\n" + body
    after = stored(content)
    assert after.header + after.body == content
    assert after.edits == (f"kept lines over 998 octets{reason}",)


def test_more_text_than_anyone_reads_goes_as_it_is():
    line = LONG + b"\r\n"
    half = line * (MAX_TEXT_OCTETS // 2 // len(line))
    kind = b"Content-Type: multipart/mixed; boundary=b\r\nMIME-Version: 1.0\r\n"
    header = b"From: a@example.com\r\n" + kind + ID + b"\r\n"
    body = part(b"", half) + part(b"", half) + part(b"", line * 3) + b"--b--\r\n"
    after = stored(header + body)
    assert after.edits == (
        "re-encoded as quoted-printable: lines over 998 octets in 2 parts",
        "kept lines over 998 octets in 1 part: too much text",
    )
    assert after.body.endswith(part(b"", line * 3) + b"--b--\r\n")


@pytest.mark.parametrize(
    "signature",
    [b"v=1; d=example.org", b"v=1; d=notexample.com", b"v=1; xd=example.com", b"d="],
)
def test_somebody_else_s_signature_covers_nothing(signature):
    content = b"From: a@example.com\r\nDKIM-Signature: " + signature + b"\r\n" + ID
    after = stored(content + b"\r\n" + LONG)
    assert after.edits[0].startswith("re-encoded")
