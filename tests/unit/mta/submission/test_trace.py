from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from mailwright.mta.submission.trace import protocol_name, received_field


def field(ehlo_name: str = "crm.example.com", peer: str = "192.0.2.1") -> bytes:
    return received_field(
        ehlo_name=ehlo_name,
        peer=ip_address(peer),
        hostname="mx.example.org",
        protocol="ESMTPSA",
        session_id="abc.1",
        now=datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
    )


def test_the_field_says_who_gave_what_to_whom_and_when() -> None:
    assert field() == (
        b"Received: from crm.example.com ([192.0.2.1])\r\n"
        b"\tby mx.example.org with ESMTPSA id abc.1;\r\n"
        b"\tSun, 22 Nov 2026 10:00:00 +0000\r\n"
    )
    assert b"([IPv6:2001:db8::1])" in field(peer="2001:db8::1")


@pytest.mark.parametrize(
    "name",
    ["a(b", "a)b;c", 'a"b', "a\\b", "a b", "a,b", "a<b>", "пк", "a\u2028b", "x" * 255],
)
def test_a_name_cannot_break_out_of_its_place(name: str) -> None:
    octets = field(ehlo_name=name)
    first = octets.split(b"\r\n")[0].removeprefix(b"Received: from ")
    safe, _, rest = first.partition(b" ")
    assert rest == b"([192.0.2.1])"
    assert safe
    assert len(safe) <= 128
    assert not set(safe) & set(b'()";\\,<> ')
    assert octets.isascii()
    assert octets.count(b"\r\n") == 3


@pytest.mark.parametrize(
    ("extended", "utf8", "secure", "authenticated", "name"),
    [
        (False, False, True, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, False, True, False, "ESMTPS"),
        (True, False, False, True, "ESMTPA"),
        (True, False, True, True, "ESMTPSA"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_has_its_registered_name(
    extended: bool, utf8: bool, secure: bool, authenticated: bool, name: str
) -> None:
    assert name == protocol_name(
        is_extended=extended,
        has_utf8=utf8,
        is_secure=secure,
        is_authenticated=authenticated,
    )
