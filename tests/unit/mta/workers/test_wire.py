"""Frames between the node and a process that prepares."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.attempt import End
from mailwright.mta.workers.ready import Outcome, Ready, Refused
from mailwright.mta.workers.wire import (
    Batch,
    Frame,
    Frames,
    KeyOctets,
    Order,
    pack_batch,
    pack_outcomes,
    parse_batch,
    parse_outcomes,
)
from mailwright.reply import Origin, Phase, Reply

octets = st.binary(max_size=300)
text = st.text(max_size=20)
numbers = st.integers(0, 2**62)
orders = st.builds(
    Order,
    numbers,
    numbers,
    octets,
    octets,
    numbers,
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    text,
    text,
    numbers,
    st.none() | st.tuples(text, text, text),
    octets,
)
batches = st.builds(
    Batch,
    numbers,
    st.booleans(),
    st.lists(orders, max_size=4),
    st.lists(
        st.builds(KeyOctets, st.integers(0, 9), text, text, text, octets), max_size=2
    ),
    st.booleans(),
)
replies = st.builds(
    Reply,
    st.integers(200, 599),
    text,
    text,
    st.sampled_from(Phase),
    st.sampled_from(Origin),
)
outcomes = st.lists(
    st.builds(
        Ready, octets, numbers, st.booleans(), st.lists(text, max_size=3).map(tuple)
    )
    | st.builds(Refused, st.sampled_from(End), replies),
    max_size=5,
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


def frames_of(pieces: list[bytes]) -> list[Frame]:
    frames = Frames()
    return [frame for piece in pieces for frame in frames.feed(piece)]


@given(st.lists(batches, min_size=1, max_size=3), st.lists(st.integers(0, 5000)))
def test_batches_arrive_as_they_were_however_they_are_cut(
    sent: list[Batch], places: list[int]
) -> None:
    stream = b"".join(map(pack_batch, sent))
    assert [parse_batch(each) for each in frames_of(cut(stream, places))] == sent


@given(numbers, outcomes, st.lists(st.integers(0, 5000)))
def test_outcomes_arrive_as_they_were_however_they_are_cut(
    number: int, sent: list[Outcome], places: list[int]
) -> None:
    (frame,) = frames_of(cut(pack_outcomes(number, sent), places))
    assert parse_outcomes(frame) == (number, sent)


def test_what_is_no_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        list(Frames().feed(b"\0\0\0\4\0\0\0\0oops"))
