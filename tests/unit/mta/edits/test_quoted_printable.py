from binascii import a2b_qp

import pytest

from fakes.slowness import is_in_proportion
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


def test_a_megabyte_on_one_line_takes_time_in_proportion():
    def there_and_back(words):
        text = b"\xd0\xb9 = " * words
        assert a2b_qp(encode(text)) == text

    assert is_in_proportion(there_and_back, 200_000)
