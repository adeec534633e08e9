import pytest

from mailwright.mta.smtp.extensions import (
    NO_EXTENSIONS,
    Extensions,
    parse_extensions,
)


def test_everything_that_is_used_is_read() -> None:
    lines = [
        b"mx.example.com Hello",
        b"SIZE 35882577",
        b"8BITMIME",
        b"STARTTLS",
        b"ENHANCEDSTATUSCODES",
        b"PIPELINING",
        b"CHUNKING",
        b"SMTPUTF8",
        b"DSN",
        b"AUTH PLAIN LOGIN XOAUTH2",
        b"LIMITS RCPTMAX=100 MAILMAX=50",
    ]
    assert parse_extensions(lines) == Extensions(
        size=35_882_577,
        has_size=True,
        has_8bitmime=True,
        has_smtputf8=True,
        has_pipelining=True,
        has_starttls=True,
        has_dsn=True,
        has_enhanced=True,
        auth=("PLAIN", "LOGIN", "XOAUTH2"),
        mail_max=50,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"size 10", Extensions(size=10, has_size=True)),
        (b"SIZE", Extensions(has_size=True)),
        (b"SIZE 0", Extensions(has_size=True)),
        (b"SIZE big", Extensions(has_size=True)),
        (b"SIZE -1", Extensions(has_size=True)),
        (b"SIZE " + b"9" * 5_000, Extensions(has_size=True)),
        (b"Pipelining", Extensions(has_pipelining=True)),
        (b"AUTH=LOGIN PLAIN", Extensions(auth=("LOGIN", "PLAIN"))),
        (b"AUTH", Extensions()),
        (b"AUTH plain \xff", Extensions(auth=("PLAIN", "�"))),
        (b"LIMITS", Extensions()),
        (b"LIMITS MAILMAX", Extensions()),
        (b"LIMITS mailmax=7", Extensions(mail_max=7)),
        (b"LIMITS MAILMAX=x", Extensions()),
        (b"", Extensions()),
        (b"   ", Extensions()),
        (b"XXXXXXXX", Extensions()),
        (b"STARTTLSX", Extensions()),
        (b"-STARTTLS", Extensions()),
        (b"\x00\xff STARTTLS", Extensions()),
    ],
)
def test_a_line_offers_what_it_says_and_garbage_offers_nothing(
    line: bytes, expected: Extensions
) -> None:
    assert parse_extensions([b"mx.example.com", line]) == expected


def test_the_greeting_line_offers_nothing() -> None:
    assert parse_extensions([b"STARTTLS"]) == NO_EXTENSIONS
    assert parse_extensions([]) == NO_EXTENSIONS


def test_mechanisms_of_both_spellings_are_put_together_once() -> None:
    offered = parse_extensions([b"x", b"AUTH PLAIN LOGIN", b"AUTH=PLAIN LOGIN"])
    assert offered.auth == ("PLAIN", "LOGIN")
