import tracemalloc
from binascii import a2b_qp

import pytest

from fakes.slowness import is_in_proportion
from mailwright.message import PIECE_OCTETS
from mailwright.mta.edits.quoted_printable import encode


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"", b""),
        (b"plain\r\n", b"plain\r\n"),
        (b"a = b\r\n", b"a =3D b\r\n"),
        (b"trailing \r\nand\t\r\nlast ", b"trailing=20\r\nand=09\r\nlast=20"),
        (b".\r\n..\r\n.net\r\n", b"=2E\r\n=2E.\r\n=2Enet\r\n"),
        (b"From here\r\nFromage\r\n", b"=46rom here\r\nFromage\r\n"),
        (b"a\rb\nc\x00", b"a=0Db=0Ac=00"),
        ("й\r\n".encode(), b"=D0=B9\r\n"),
        (b"a" * 73, b"a" * 73),
        (b"a" * 74, b"a" * 73 + b"=\r\na"),
        (b"a" * 72 + b"\xe9", b"a" * 72 + b"=\r\n=E9"),
        (b"a" * 73 + b".", b"a" * 73 + b"=\r\n=2E"),
        (b"a" * 73 + b"From x", b"a" * 73 + b"=\r\n=46rom x"),
    ],
)
def test_the_text_is_written_like_this(text, encoded):
    assert encode(text) == encoded
    assert a2b_qp(encoded) == text


@pytest.mark.parametrize(
    "unit",
    [b"", b"x" * 70_000, "й".encode() * 50_000, b"a \r\n", b"\r\n", b"\r", b". \n"],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_large_text_is_cut_where_it_does_no_harm(unit, before):
    # The line end is before, on and behind the place of a cut.
    text = (
        b"x" * (PIECE_OCTETS - before) + b"\r\n" + unit * (300_000 // (len(unit) + 1))
    )
    encoded = encode(text)
    assert a2b_qp(encoded) == text
    lines = encoded.split(b"\r\n")
    assert all(len(line) <= 76 for line in lines)
    assert not any(line.startswith((b".", b"From ")) for line in lines)
    assert not any(line.endswith((b" ", b"\t")) for line in lines)


@pytest.mark.parametrize("unit", [b"\r\n", b"ab\r\n", b"x", b"\xe9"])
def test_what_lines_a_text_has_makes_no_difference_to_the_memory(unit):
    text = unit * (1_000_000 // len(unit))
    tracemalloc.start()
    try:
        encoded = encode(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The buffer grows by an eighth at a time; a piece is a list of lines for a moment.
    assert peak < len(encoded) * 1.3 + 50 * PIECE_OCTETS


def test_a_megabyte_on_one_line_takes_time_in_proportion():
    def there_and_back(words):
        text = b"\xd0\xb9 = " * words
        assert a2b_qp(encode(text)) == text

    assert is_in_proportion(there_and_back, 200_000)
