"""Wire == canonical: what is parsed is spelled in one way, or refused.

One fixed seed over grammar-like and hostile texts, so that every run tries the same
100 000 addresses, and hypothesis for what nobody thought of.
"""

import random
import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mailwright.address import Address, AddressError, parse_address

DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
SPECIAL = frozenset(' <>,;:@()[]\\"')
ATOMS = ["a", "B", "user", "first.last", "x+y", "%", "a%b", "!", "a!b", "-", "_", "0"]
HOSTILE = [
    "\r", "\n", "\r\nRCPT TO:<z@z.example>", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028",
    "\u202e", "\ufeff", " ", "\t", ">", "<", ",", ";", ":", '"', "\\", '"\\', "@", "@@", "..",
    ".", "(c)", "[", "]", "\ud800", "\ue000", "İ", "ſ", "K", "ß", "ﬁ", "é", "e\u0301",
    "Ω", "Ω", "я", "日本", "😀", "\u200d", "\u00ad",
]  # fmt: skip
DOMAINS = [
    "example.com", "EXAMPLE.com", "a.b.c.d.example", "bücher.example", "xn--bcher-kva.example",
    "пример.рф", "example.com.", ".example.com", "example..com", "-a.example", "a-.example",
    "[127.0.0.1]", "[IPv6:::1]", "127.0.0.1", "1.2.3.0x1", "localhost", "a_b.example",
    "ß.example",
    "İ.example", "x" * 63 + ".example", "x" * 64 + ".example", "ab.cd\u3002ef", "１２.example",
    "example.com ", " example.com", "exa mple.com", "example.com\r\n", "\u200dx.example",
]  # fmt: skip


def canonical_or_refused(text: str) -> Address | None:
    """Parse, and check everything that must hold of what was not refused."""
    try:
        address = parse_address(text)
    except AddressError:
        return None
    wire = address.to_wire()
    assert wire == address.canonical.encode()
    assert len(wire) <= 254
    assert parse_address(address.canonical) == address, "the canonical form is final"
    assert address.canonical.isprintable()
    assert unicodedata.is_normalized("NFC", address.local_part)
    assert DOMAIN.fullmatch(address.domain)
    if address.local_part.startswith('"'):
        assert address.local_part.endswith('"')
    else:
        assert SPECIAL.isdisjoint(address.local_part), address
    return address


def made_up(chance: random.Random) -> str:
    pieces = chance.choices(ATOMS, k=chance.randint(1, 3))
    if chance.random() < 0.6:
        for _ in range(chance.randint(1, 2)):
            pieces.insert(chance.randint(0, len(pieces)), chance.choice(HOSTILE))
    local_part = chance.choice(("", ".", "+", "")).join(pieces)
    if chance.random() < 0.3:
        local_part = f'"{local_part}"'
    return (
        f"{local_part}{chance.choice(('@', '@', '@', '@', ''))}{chance.choice(DOMAINS)}"
    )


def test_each_of_100_000_addresses_has_one_spelling_or_is_refused() -> None:
    chance = random.Random(5321)  # noqa: S311
    accepted = sum(
        canonical_or_refused(made_up(chance)) is not None for _ in range(100_000)
    )
    # Both outcomes must be common, or the addresses would not test anything.
    assert 10_000 < accepted < 90_000


@given(st.text(max_size=80))
def test_any_text_has_one_spelling_or_is_refused(text: str) -> None:
    canonical_or_refused(text)


@given(st.text(max_size=20), st.sampled_from(DOMAINS))
def test_any_local_part_has_one_spelling_or_is_refused(local: str, domain: str) -> None:
    canonical_or_refused(f"{local}@{domain}")


@given(
    st.text(min_size=1, max_size=20), st.sampled_from(["example.com", "bücher.example"])
)
def test_any_quoted_local_part_has_one_spelling_or_is_refused(
    text: str, domain: str
) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    canonical_or_refused(f'"{quoted}"@{domain}')


@given(st.from_regex(r"[A-Za-z0-9.+_-]{1,30}", fullmatch=True))
def test_case_of_ascii_never_makes_a_difference(local: str) -> None:
    plain = canonical_or_refused(f"{local}@Example.COM")
    assert plain == canonical_or_refused(f"{local.upper()}@example.com")
    assert plain == canonical_or_refused(f"{local.swapcase()}@eXample.com")
