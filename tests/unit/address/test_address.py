import pytest

from mailwright.address import Address, AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a@example.com", "a@example.com"),
        ("First.Last+Tag@EXAMPLE.Com", "first.last+tag@example.com"),
        ("a%b@example.com", "a%b@example.com"),
        ("a!b@example.com", "a!b@example.com"),
        ("o'hara@example.com", "o'hara@example.com"),
        ('"a"@example.com', "a@example.com"),
        ('"a b"@example.com', '"a b"@example.com'),
        ('"A\\ B"@example.com', '"a b"@example.com'),
        ('"a@b"@example.com', '"a@b"@example.com'),
        ('"a>b"@example.com', '"a>b"@example.com'),
        ('"a\\"b\\\\"@example.com', '"a\\"b\\\\"@example.com'),
        ('"a..b"@example.com', '"a..b"@example.com'),
        ('" "@example.com', '" "@example.com'),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@xn--BCHER-kva.example", "a@xn--bcher-kva.example"),
        ("иван@пример.рф", "иван@xn--e1afmkfd.xn--p1ai"),
        ("ИВАН@example.com", "иван@example.com"),
        ("e\u0301@example.com", "\u00e9@example.com"),
        ("\u212a@example.com", "k@example.com"),  # the Kelvin sign
        ("a@_dmarc.example.com", "a@_dmarc.example.com"),
        ("a@b\u3002example.com", "a@b.example.com"),  # the ideographic full stop
    ],
)
def test_every_spelling_of_a_mailbox_has_one_canonical_form(
    text: str, canonical: str
) -> None:
    address = parse_address(text)
    assert address.canonical == canonical
    assert str(address) == canonical
    assert address.to_wire() == canonical.encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "a",
        "a@",
        "@example.com",
        "a@localhost",
        "a@example",
        "a@example.com.",
        "a@.example.com",
        "a@example..com",
        "a@-a.example",
        "a@a-.example",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "a@127.0.0.1",
        "a@1.2.3.0x7f",
        "a@exam ple.com",
        "a@example.com ",
        " a@example.com",
        "a@example.com\r\n",
        "a\r\nRCPT TO:<z@z.example>@example.com",
        '"a\r\nb"@example.com',
        '"a\\\r\n"@example.com',
        "a\0b@example.com",
        "a\x0bb@example.com",
        "a\x7fb@example.com",
        "a\x85b@example.com",
        "a\u2028b@example.com",
        '"a\u202eb"@example.com',
        "a\u200bb@example.com",
        "a\ud800b@example.com",
        "a\ue000b@example.com",
        "a b@example.com",
        "a,b@example.com",
        "a@b@example.com",
        "@relay.example:a@example.com",
        "a..b@example.com",
        ".a@example.com",
        "a.@example.com",
        'a"b@example.com',
        '"a@example.com',
        '"a"b"@example.com',
        '"a\\"@example.com',
        '""@example.com',
        "Name <a@example.com>",
        "<a@example.com>",
        "a(comment)@example.com",
        "host!user",
        "x" * 65 + "@example.com",
        "я" * 33 + "@example.com",
        "a@" + "x" * 64 + ".example",
        "a@" + "x.".join(["y" * 60] * 5),
        "a" * 64 + "@" + ".".join(["x" * 60] * 4),
        "x" * 2_000,
    ],
)
def test_what_cannot_be_made_canonical_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 60


def test_sizes_at_the_limit_are_taken() -> None:
    assert (
        parse_address("x" * 64 + "@example.com").canonical == "x" * 64 + "@example.com"
    )
    longest = "a@" + ".".join(["x" * 61] * 4) + ".abc"
    assert len(longest) == 253
    assert parse_address(longest).domain == longest[2:]


def test_only_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    assert parse_address("иван@example.com").needs_utf8
    assert not parse_address("a@пример.рф").needs_utf8


def test_a_reason_repeats_nothing_of_the_input() -> None:
    with pytest.raises(AddressError) as caught:
        parse_address("s3cret\r\nX@example.com")
    assert "s3cret" not in str(caught.value)


def test_equal_mailboxes_are_equal_values() -> None:
    assert parse_address("A@Example.com") == Address("a", "example.com")
