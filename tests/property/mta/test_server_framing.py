"""However a stream is cut, its readers say the same; garbage never raises."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mailwright.mta.smtp.framing import (
    Content,
    ContentEnd,
    DataReader,
    LineFault,
    LineReader,
)

#: Mostly what matters to a reader of lines, so that ends and near-ends are common.
PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r\n",
        b"\r\n.\r\n",
        b"\r",
        b"\n",
        b".",
        b"..",
        b"a",
        b"A: b",
        b"\0",
        b"\xff",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(min_value=0, max_value=60), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(bounds)]


def content_of(chunks: list[bytes], limit: int) -> ContentEnd | None:
    """Return the end; what follows it in later chunks belongs to its rest."""
    reader = DataReader(max_octets=limit, max_header_octets=limit // 2)
    for index, chunk in enumerate(chunks):
        end = reader.feed(chunk)
        if end is not None:
            rest = b"" if end.must_close else end.rest + b"".join(chunks[index + 1 :])
            return ContentEnd(end.outcome, rest, end.must_close)
    return None


@given(STREAMS, CUTS, st.sampled_from([10, 40, 10_000]))
@example(b"\r\n.\r\n", [1, 2, 3, 4], 10_000)
@example(b".\r\n", [1, 2], 10_000)
@example(b"a\r\n.\r\r\n.\r\n", [5], 10_000)
def test_cutting_content_changes_nothing(
    stream: bytes, places: list[int], limit: int
) -> None:
    whole = content_of([stream], limit)
    assert content_of(cut(stream, places), limit) == whole
    assert content_of(cut(stream, list(range(len(stream)))), limit) == whole


@given(STREAMS)
def test_content_is_what_a_plain_reading_of_the_rfc_says(stream: bytes) -> None:
    """The model reads line by line, slowly, from RFC 5321 §4.5.2."""
    body = bytearray()
    expected: tuple[bytes, bytes] | None = None
    at = 0
    while (end := stream.find(b"\r\n", at)) >= 0:
        line, at = stream[at:end], end + 2
        if line == b".":
            expected = bytes(body), stream[at:]
            break
        body += line.removeprefix(b".") + b"\r\n"
    read = stream[: len(stream) - len(expected[1])] if expected else stream
    bare = read.replace(b"\r\n", b"")
    is_strict = not set(b"\r\n\0") & set(bare)

    got = content_of([stream], 100_000)
    if expected is None:
        assert got is None or got.must_close
    elif not is_strict:
        assert got is not None
        assert got.must_close
    else:
        assert got is not None
        assert isinstance(got.outcome, Content)
        joined = got.outcome.header + got.outcome.body
        assert joined in {expected[0], expected[0] + b"\r\n"}
        assert got.rest == expected[1]


@given(st.binary(max_size=200), CUTS)
def test_garbage_never_raises(stream: bytes, places: list[int]) -> None:
    content_of(cut(stream, places), 100)
    assert lines_of(cut(stream, places)) == lines_of([stream])


def lines_of(chunks: list[bytes]) -> list[bytes | LineFault]:
    reader = LineReader()
    lines: list[bytes | LineFault] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (line := reader.next_line()) is not None:
            lines.append(line)
            if isinstance(line, LineFault):
                return lines
    return lines


@given(STREAMS, CUTS)
def test_cutting_lines_changes_nothing(stream: bytes, places: list[int]) -> None:
    assert lines_of(cut(stream, places)) == lines_of([stream])


@given(STREAMS)
def test_a_line_never_holds_what_could_end_one(stream: bytes) -> None:
    for line in lines_of([stream]):
        if not isinstance(line, LineFault):
            assert not set(b"\r\n\0") & set(line)
