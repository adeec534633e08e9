import pytest

from fakes.slowness import is_in_proportion
from mailwright.address import Address
from mailwright.message import (
    FromFault,
    defects,
    fields,
    find,
    from_mailbox,
    split,
    unfold,
)

HEADER = (
    b"Received: from a.example\r\n\tby b.example; Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"From: A <a@example.com>\r\n"
    b"sUBJECT :  two\r\n   lines \r\n"
    b"no field at all\r\n  and its continuation\r\n"
    b"Cc: one\r\n"
    b"cc: two\r\n"
    b"\r\n"
)


def author(value: bytes) -> Address | FromFault:
    return from_mailbox(fields(b"From: " + value + b"\r\n\r\n"))


@pytest.mark.parametrize(
    ("octets", "header", "body"),
    [
        (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n\r\n", b"body\r\n"),
        (b"A: b\r\n\r\n\r\nbody", b"A: b\r\n\r\n", b"\r\nbody"),
        (b"\r\nbody", b"\r\n", b"body"),
        (b"\r\n", b"\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n\r\n", b""),
        (b"A: b", b"A: b\r\n\r\n", b""),
        (b"", b"\r\n", b""),
        (b"A: b\n\nnot a header's end", b"A: b\n\nnot a header's end\r\n\r\n", b""),
    ],
)
def test_the_header_ends_with_its_empty_line(octets, header, body):
    assert split(octets) == (header, body)


def test_fields_are_octet_ranges_with_their_folding():
    found = fields(HEADER)
    assert [field.name for field in found] == [
        b"Received",
        b"From",
        b"sUBJECT",
        b"Cc",
        b"cc",
    ]
    assert HEADER[found[0].start : found[0].end].endswith(b"+0000\r\n")
    assert HEADER[found[2].start : found[2].end] == b"sUBJECT :  two\r\n   lines \r\n"
    assert found[2].value == b"  two\r\n   lines "
    assert found[2].key == b"subject"


def test_lines_that_are_no_field_are_reported_and_left_out():
    assert defects(HEADER) == ("header line 6 is not a field",)
    assert defects(b"From nobody Thu Jan  1\r\nA: b\r\n\r\n") == (
        "header line 1 is not a field",
    )
    assert defects(b" begins with a fold\r\nA: b\r\n\r\n") == (
        "header line 1 is not a field",
    )


def test_a_sound_header_has_no_defects():
    assert defects(b"A: b\r\n c\r\n\td\r\nE:\r\n\r\n") == ()
    assert defects(b"\r\n") == ()


def test_the_report_of_defects_is_bounded():
    assert len(defects(b"x\r\n" * 1000 + b"\r\n")) == 20


def test_a_bare_cr_or_lf_does_not_end_a_line():
    [field] = fields(b"A: b\rBcc: evil\nBcc: evil\r\n\r\n")
    assert field.value == b" b\rBcc: evil\nBcc: evil"


def test_find_ignores_case_and_keeps_the_order():
    assert [field.value for field in find(fields(HEADER), b"CC")] == [b" one", b" two"]
    assert find(fields(HEADER), b"Bcc") == []


def test_unfolding_removes_line_ends_only():
    assert unfold(b"  two\r\n   lines \t") == b"two   lines"
    assert unfold(b"") == b""


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"a@example.com", "a@example.com"),
        (b"<A@EXAMPLE.com>", "a@example.com"),
        (b"Anna <a@example.com>", "a@example.com"),
        (b"Anna Q. Public <a@example.com>", "a@example.com"),
        (b'"Public, Anna" <a@example.com>', "a@example.com"),
        (b'"a@bank.example" <a@example.com>', "a@example.com"),
        (b'"\\"" <a@example.com>', "a@example.com"),
        (b"=?utf-8?q?=D0=90?= <a@example.com>", "a@example.com"),
        (b"a@example.com (Anna (of \\) B))", "a@example.com"),
        (b"(c) Anna (c) < (c) a@example.com (c) > (c)", "a@example.com"),
        (b"Anna\r\n <a@example.com>", "a@example.com"),
        (b'"a b"@example.com', '"a b"@example.com'),
        ("Жук <жук@пример.рф>".encode(), "жук@xn--e1afmkfd.xn--p1ai"),
        (b"\xc6\xee <a@example.com>", "a@example.com"),
    ],
)
def test_one_mailbox_is_the_author(value, address):
    found = author(value)
    assert isinstance(found, Address)
    assert found.canonical == address


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", FromFault.SYNTAX),
        (b"<>", FromFault.SYNTAX),
        (b"nobody", FromFault.SYNTAX),
        (b"a@example.com b@example.com", FromFault.SYNTAX),
        (b"a@example.com, b@example.com", FromFault.SEVERAL),
        (b"<a@example.com>, <b@example.com>", FromFault.SEVERAL),
        (b"Public, Anna <a@example.com>", FromFault.SEVERAL),
        (b"a@bank.example <a@example.com>", FromFault.SYNTAX),
        (b"<a@bank.example> <a@example.com>", FromFault.SYNTAX),
        (b"<a@example.com> b", FromFault.SYNTAX),
        (b"<a@example.com", FromFault.SYNTAX),
        (b"a@example.com>", FromFault.SYNTAX),
        (b"staff: a@example.com;", FromFault.GROUP),
        (b"undisclosed:;", FromFault.GROUP),
        (b"<@relay.example:a@example.com>", FromFault.GROUP),
        (b"<@x.example,@y.example:a@example.com>", FromFault.SEVERAL),
        (b"a (hidden) @example.com", FromFault.SYNTAX),
        (b"a @example.com", FromFault.SYNTAX),
        (b"a@ example.com", FromFault.SYNTAX),
        (b"a..b@example.com", FromFault.SYNTAX),
        (b"a@b@example.com", FromFault.SYNTAX),
        (b'"a"b@example.com', FromFault.SYNTAX),
        (b"a@[192.0.2.1]", FromFault.SYNTAX),
        (b"a@example.com\x00", FromFault.SYNTAX),
        (b"a\x0b@example.com", FromFault.SYNTAX),
        (b'"unfinished <a@example.com>', FromFault.SYNTAX),
        (b"(unfinished <a@example.com>", FromFault.SYNTAX),
        (b"(" * 4000, FromFault.SYNTAX),
        (b"a@localhost", FromFault.ADDRESS),
        (b"\xe9@example.com", FromFault.ADDRESS),
        (b"=?utf-8?q?a=40bank.example=3e?=@example.com", FromFault.ADDRESS),
        (b"a" * 5000 + b"@example.com", FromFault.TOO_LONG),
    ],
)
def test_anything_else_is_no_author(value, fault):
    assert author(value) is fault


def test_there_is_one_from_field_or_no_author():
    assert from_mailbox(()) is FromFault.MISSING
    twice = b"From: a@example.com\r\nFROM : a@example.com\r\n\r\n"
    assert from_mailbox(fields(twice)) is FromFault.REPEATED


@pytest.mark.parametrize(
    "header",
    [
        b"a" * 1_000_000,
        b"\r" * 1_000_000,
        b" " * 1_000_000,
        b"a: b\r\n " * 150_000,
        b"a \t" * 300_000,
        b"a:" + b"\r" * 1_000_000,
        b"a:\r\n" * 100_000,
    ],
)
def test_hostile_headers_take_time_in_proportion_to_their_size(header):
    def look(octets):
        fields(header[:octets])
        defects(header[:octets])

    assert is_in_proportion(look, len(header))
