"""What an upload's body may be: types, charsets, delimiters; gzip, and its bombs."""

import gzip
import os

import pytest

from mailwright.queue.campaign.uploads import (
    PackedError,
    RowFormat,
    RowFormatError,
    Unpacker,
    parse_row_format,
)


def unpack(octets: bytes, *, cut: int = 1 << 20, at_most: int = 1 << 30) -> bytes:
    unpacker = Unpacker(at_most)
    parts = [
        piece
        for at in range(0, len(octets), cut)
        for piece in unpacker.feed(octets[at : at + cut])
    ]
    unpacker.finish()
    return b"".join(parts)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/x-ndjson", RowFormat()),
        ("application/x-ndjson; charset=UTF-8", RowFormat()),
        ("text/csv", RowFormat("csv", ",")),
        (
            'text/csv; charset="utf-8"; header=present; delimiter=";"',
            RowFormat("csv", ";"),
        ),
        ("Text/CSV; delimiter=tab", RowFormat("csv", "\t")),
    ],
)
def test_a_content_type_says_how_rows_are_written(
    content_type: str, expected: RowFormat
) -> None:
    assert parse_row_format(content_type) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "text/csv; charset=windows-1252",
        "text/csv; header=absent",
        'text/csv; delimiter="\\""',
        "text/csv; delimiter=ab",
    ],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(RowFormatError):
        parse_row_format(content_type)


def test_any_cut_unpacks_to_the_same_octets() -> None:
    plain = os.urandom(100_000) + b"a" * 300_000
    packed = gzip.compress(plain[:150_000]) + gzip.compress(plain[150_000:])
    for cut in (1, 1000, 65_536, 1 << 20):
        assert unpack(packed, cut=cut) == plain


def test_what_is_no_gzip_or_ends_early_is_refused() -> None:
    packed = gzip.compress(b"x" * 1000)
    damaged = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    for octets in (b"email\n", packed[:-1], packed + b"\0", damaged):
        with pytest.raises(PackedError):
            unpack(octets)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = gzip.compress(b"\n" * (64 << 20))
    taken = 0
    unpacker = Unpacker(1 << 30)
    with pytest.raises(PackedError, match="times its size"):  # noqa: PT012
        for piece in unpacker.feed(bomb):
            taken += len(piece)
    assert taken < len(bomb) * 201 + (2 << 20)
    with pytest.raises(PackedError, match="over 1000 octets"):
        unpack(gzip.compress(os.urandom(1001)), at_most=1000)
