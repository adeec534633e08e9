import tracemalloc

import pytest

from fakes.slowness import is_in_proportion
from fakes.smuggling import END_VARIANTS
from mailwright.mta.smtp.framing import (
    MAX_LINE_OCTETS,
    Content,
    ContentEnd,
    DataReader,
    LineFault,
    LineReader,
)
from mailwright.reply import Phase, Reply, local_reply

HEADER = b"From: a@example.com\r\n\r\n"


def reader(max_octets: int = 1_000_000, max_header_octets: int = 100_000) -> DataReader:
    return DataReader(max_octets=max_octets, max_header_octets=max_header_octets)


def read(*chunks: bytes, **limits: int) -> ContentEnd | None:
    taker = reader(**limits)
    for chunk in chunks:
        end = taker.feed(chunk)
        if end is not None:
            return end
    return None


def octetwise(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


@pytest.mark.parametrize(
    ("wire", "header", "body"),
    [
        (b".\r\n", b"\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"\r\nbody\r\n.\r\n", b"\r\n", b"body\r\n"),
        (b"A: b\r\n.\r\n", b"A: b\r\n\r\n", b""),
        (b"A: b\r\n\r\n.\r\n", b"A: b\r\n\r\n", b""),
        (b"A: b\r\n\r\nc\r\n.\r\n", b"A: b\r\n\r\n", b"c\r\n"),
        (b"A: b\r\n\r\n\r\n\r\n.\r\n", b"A: b\r\n\r\n", b"\r\n\r\n"),
        (
            b"A: b\r\n\r\n..\r\n...\r\n.x\r\nx.\r\n.\r\n",
            b"A: b\r\n\r\n",
            b".\r\n..\r\nx\r\nx.\r\n",
        ),
        (b"..\r\n\r\nx\r\n.\r\n", b".\r\n\r\n", b"x\r\n"),
        (b".A: b\r\n\r\nx\r\n.\r\n", b"A: b\r\n\r\n", b"x\r\n"),
        (b"A: b\r\n\r\n\xff\x80\r\n.\r\n", b"A: b\r\n\r\n", b"\xff\x80\r\n"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"RSET\r\n", b".\r\n", b"\r\n.\r\n"])
def test_content_is_unstuffed_and_split_at_the_first_empty_line(
    wire: bytes, header: bytes, body: bytes, rest: bytes
) -> None:
    assert read(wire + rest) == ContentEnd(Content(header, body), rest)
    assert read(*octetwise(wire)) == ContentEnd(Content(header, body))


@pytest.mark.parametrize("variant", END_VARIANTS)
@pytest.mark.parametrize("max_octets", [1_000_000, 10])
@pytest.mark.parametrize("is_cut", [False, True])
def test_no_variant_of_the_end_ends_a_message(
    variant: bytes, max_octets: int, is_cut: bool
) -> None:
    wire = HEADER + b"first" + variant + b"second\r\n.\r\n"
    chunks = octetwise(wire) if is_cut else [wire]
    end = read(*chunks, max_octets=max_octets)
    assert end is not None
    assert end.must_close
    assert isinstance(end.outcome, Reply)
    assert end.outcome.code == 550
    assert end.rest == b""


@pytest.mark.parametrize("variant", END_VARIANTS)
def test_a_variant_at_the_very_beginning_is_no_end_either(variant: bytes) -> None:
    for wire in (variant, variant[1:]):
        end = read(*octetwise(wire + b"x\r\n.\r\n"))
        assert end is not None
        proper = wire in {b".\r\n", b"\r\n.\r\n"}
        assert end.must_close is not proper


def test_the_check_catches_a_reader_that_forgives() -> None:
    """Control: a reader that takes bare LF for a line end sees two messages."""

    def forgiving(wire: bytes) -> bytes:
        lines = wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return b"\n".join(lines[: lines.index(b".")])

    fooled = [
        variant
        for variant in END_VARIANTS
        if b"second" not in forgiving(HEADER + b"first" + variant + b"second\r\n.\r\n")
    ]
    assert len(fooled) >= 8


@pytest.mark.parametrize(
    ("header_octets", "body_octets", "code"),
    [
        (100, 899, None),
        (100, 900, None),
        (100, 901, 552),
        (200, 10, None),
        (201, 10, 552),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4_096])
def test_sizes_count_unstuffed_octets_up_to_the_limit(
    header_octets: int, body_octets: int, code: int | None, size: int
) -> None:
    header = b"A: " + b"b" * (header_octets - 7) + b"\r\n\r\n"
    body = b".." + b"c" * (body_octets - 3) + b"\r\n"
    wire = header + body + b".\r\nNOOP\r\n"
    chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
    end = read(*chunks, max_octets=1_000, max_header_octets=200)
    assert end is not None
    assert not end.must_close
    if code is None:
        assert end.outcome == Content(header, body[1:])
    else:
        assert isinstance(end.outcome, Reply)
        assert end.outcome.code == code


def test_a_message_too_big_is_read_to_its_end_without_being_kept() -> None:
    taker = reader(max_octets=1_000)
    tracemalloc.start()
    try:
        for _ in range(200):
            assert taker.feed(b"x" * 65_536) is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taker.is_discarding
    assert held < 200_000
    end = taker.feed(b"\r\n.\r\nNOOP\r\n")
    assert end is not None
    assert isinstance(end.outcome, Reply)
    assert (end.outcome.code, end.rest) == (552, b"NOOP\r\n")


@pytest.mark.parametrize("size", [1, 60, 1_000])
def test_that_it_is_too_big_as_a_whole_is_said_first(size: int) -> None:
    wire = b"A: " + b"b" * 60 + b"\r\n" * 40 + b".\r\n"
    chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
    end = read(*chunks, max_octets=100, max_header_octets=50)
    assert end is not None
    assert isinstance(end.outcome, Reply)
    assert end.outcome.text == "message over 100 octets"


def test_the_first_refusal_stands() -> None:
    taker = reader()
    taker.refuse(local_reply(452, "4.3.1", "full", Phase.DOT))
    taker.refuse(local_reply(552, "5.3.4", "other", Phase.DOT))
    end = taker.feed(HEADER + b".\r\n")
    assert end is not None
    assert isinstance(end.outcome, Reply)
    assert end.outcome.code == 452


def test_32_mb_of_empty_lines_cost_32_mb_and_time_in_proportion() -> None:
    chunk = b"\r\n" * 32_768
    taker = reader(max_octets=64_000_000)
    tracemalloc.start()
    try:
        taker.feed(HEADER)
        for _ in range(512):
            taker.feed(chunk)
        end = taker.feed(b".\r\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end is not None
    assert isinstance(end.outcome, Content)
    assert len(end.outcome.body) == 512 * 65_536
    assert peak < 48_000_000

    def take(chunks: int) -> None:
        another = reader(max_octets=64_000_000)
        another.feed(HEADER)
        for _ in range(chunks):
            another.feed(chunk)

    assert is_in_proportion(take, 512)


def test_a_message_in_single_octets_costs_its_own_size() -> None:
    taker = reader()
    tracemalloc.start()
    try:
        for octet in octetwise(HEADER + b"x" * 20_000):
            taker.feed(octet)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 60_000


def lines_of(*chunks: bytes) -> list[bytes | LineFault]:
    taker = LineReader()
    lines: list[bytes | LineFault] = []
    for chunk in chunks:
        taker.feed(chunk)
        while (line := taker.next_line()) is not None:
            lines.append(line)
            if isinstance(line, LineFault):
                return lines
    return lines


def test_lines_end_with_crlf() -> None:
    assert lines_of(b"EHLO a\r\n\r\nNOOP\r\nQU") == [b"EHLO a", b"", b"NOOP"]


@pytest.mark.parametrize(
    "octets", [b"NOOP\n", b"\n", b"NO\rOP\r\n", b"NOOP\r\r\n", b"NO\0OP\r\n", b"\r\n\n"]
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_stray_octet_ends_the_stream_of_lines(octets: bytes, is_cut: bool) -> None:
    chunks = octetwise(octets) if is_cut else [octets]
    assert lines_of(*chunks)[-1] is LineFault.STRAY


@pytest.mark.parametrize("size", [1, 1_000, 100_000])
def test_a_line_without_end_is_given_up_at_the_limit(size: int) -> None:
    def cut(octets: bytes) -> list[bytes]:
        return [octets[at : at + size] for at in range(0, len(octets), size)]

    fits = b"x" * (MAX_LINE_OCTETS - 2)
    assert lines_of(*cut(fits + b"\r\n")) == [fits]
    assert lines_of(*cut(fits + b"x\r\n")) == [LineFault.ENDLESS]
    assert lines_of(*cut(b"x" * MAX_LINE_OCTETS)) == [LineFault.ENDLESS]


def test_the_rest_is_handed_over_once() -> None:
    taker = LineReader()
    taker.feed(b"DATA\r\nFrom: x\r\n")
    assert taker.next_line() == b"DATA"
    assert not taker.is_empty
    assert taker.take_rest() == b"From: x\r\n"
    assert taker.is_empty
    assert taker.take_rest() == b""
