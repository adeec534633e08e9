import itertools
import re
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest

from mailwright.errors import LocalProtocolError
from mailwright.mta.smtp.stuffing import stuff


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n", b"...\r\n.\r\n"),
        (b"a.\r\n.b\r\n\r\n.\r\n", b"a.\r\n..b\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_lines_that_begin_with_a_dot_get_one_more(content: bytes, wire: bytes) -> None:
    assert stuff(content) == wire


@pytest.mark.parametrize(
    "content",
    [
        b"\n.\n",
        b"a\n.\r\nb\r\n",
        b"a\r\n.\nb\r\n",
        b"a\r.\r\nb\r\n",
        b"a\r\n.\rb\r\n",
        b"a\r\r\n.\r\n",
        b"a\r\n.\r\r\n",
        b"\r",
        b"\n",
        b"a\n\r",  # as many of each as of pairs in "\r\n"
        b"a\n\rb\r\n",
        b"a\0b\r\n",
        b"a\r\n.\0\r\n",
    ],
)
def test_what_could_end_a_message_early_is_never_sent(content: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        stuff(content)


def test_a_large_content_is_stuffed_from_its_parts_without_another_copy() -> None:
    header = b"Subject: x\r\n\r\n"
    body = b".line\r\n.\r\n" * 200_000
    whole = stuff(header + body, piece=1 << 30)
    tracemalloc.start()
    try:
        parts = stuff(header, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert parts == whole
    # The buffer grows by an eighth at a time.
    assert peak < len(whole) * 1.3


def in_two(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield a header section and a body in each way that there is."""
    yield b"", content
    for match in re.finditer(b"\r\n", content):
        yield content[: match.end()], content[match.end() :]


@pytest.mark.parametrize("piece", [1, 2, 3])
def test_where_a_content_is_cut_makes_no_difference(piece: int) -> None:
    def outcome(parts: Sequence[bytes], octets: int) -> bytes | None:
        try:
            return stuff(*parts, piece=octets)
        except LocalProtocolError:
            return None

    for length in range(7):
        for each in itertools.product(
            (b".", b"a", b"\r\n", b"\r", b"\n"), repeat=length
        ):
            content = b"".join(each)
            whole = outcome((content,), 1_000)
            assert outcome((content,), piece) == whole, content
            for parts in in_two(content):
                assert outcome(parts, piece) == whole, parts
