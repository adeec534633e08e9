"""Public ids and blocks of ids."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.ids import (
    COUNTER_BITS,
    NODE_BITS,
    IdBlock,
    Kind,
    NodeId,
    PublicId,
    format_public,
    parse_public,
)

NUMBERS = st.integers(0, 2 ** (NODE_BITS + COUNTER_BITS) - 1)


@given(
    NUMBERS,
    st.datetimes(datetime(2020, 1, 1), datetime(2999, 1, 1)),
    st.sampled_from(Kind),
)
def test_a_public_id_reads_back_as_what_it_was_made_from(
    number: int, at: datetime, kind: Kind
) -> None:
    text = format_public(kind, at.replace(tzinfo=UTC), number)
    assert parse_public(text, kind) == PublicId(kind, at.date(), number)


@given(st.text(max_size=40))
def test_garbage_is_no_id_and_never_raises(text: str) -> None:
    parsed = parse_public(text, Kind.MESSAGE)
    if parsed is not None:
        at = datetime.combine(parsed.day, datetime.min.time(), UTC)
        assert format_public(Kind.MESSAGE, at, parsed.number) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dlv_20260101_0000000000001",
        "msg_20261301_0000000000001",
        "msg_20260101_000000000000",
        "msg_20260101_00000000000001",
        "msg_20260101_000000000000u",
        "msg_20260101_zzzzzzzzzzzzz",
        " msg_20260101_0000000000001",
        "msg_20260101_0000000000001\n",
    ],
)
def test_what_is_not_quite_an_id_is_none(text: str) -> None:
    assert parse_public(text, Kind.MESSAGE) is None


def test_ids_sort_as_they_were_given() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    texts = [
        format_public(Kind.DELIVERY, at, number) for number in (1, 31, 32, 1024, 2**60)
    ]
    assert texts == sorted(texts)
    assert parse_public(texts[0], Kind.DELIVERY) == PublicId(
        Kind.DELIVERY, date(2026, 1, 1), 1
    )


def test_a_block_gives_each_id_once_and_asks_for_more_in_time() -> None:
    asked: list[int] = []
    block = IdBlock(NodeId(3), 100, 10, lambda: asked.append(1))
    taken = [block.take() for _ in range(6)]
    assert taken == [3 << COUNTER_BITS | number for number in range(100, 106)]
    assert asked == [1]
    block.extend(120)
    taken += [block.take() for _ in range(14)]
    assert len(set(taken)) == 20
    assert asked == [1, 1]


def test_a_block_that_is_used_up_gives_nothing() -> None:
    block = IdBlock(NodeId(1), 0, 2, lambda: None)
    block.take()
    block.take()
    with pytest.raises(RuntimeError, match="used up"):
        block.take()
