"""Frames between the node and a process that leads sessions."""

import json
from dataclasses import replace
from itertools import pairwise
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.attempt import End
from mailwright.mta.sessions.frames import Frame, Frames, pack_frame
from mailwright.mta.sessions.session import Call
from mailwright.mta.sessions.wire import (
    Abort,
    Closed,
    Command,
    Ending,
    Ends,
    Event,
    KeyOctets,
    NotOpened,
    Offer,
    Open,
    Opened,
    Order,
    Ping,
    Pong,
    Quit,
    Recall,
    pack_command,
    pack_events,
    parse_command,
    parse_events,
)
from mailwright.mta.smtp.client import Terms, Timeouts
from mailwright.mta.smtp.greeting import Login
from mailwright.reply import Origin, Phase, Reply
from mailwright.site import Pipelining, TlsDemand

octets = st.binary(max_size=300)
text = st.text(max_size=20)
numbers = st.integers(0, 2**62)
seconds = st.floats(0, 10_000)
dsn = st.just(()) | st.tuples(text, text, text, text)
orders = st.builds(
    Order,
    numbers,
    numbers,
    octets,
    octets,
    text,
    text,
    numbers,
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    text,
    text,
    dsn,
    numbers,
    st.none() | st.tuples(text, text, text),
    octets,
)
keys = st.builds(KeyOctets, st.integers(0, 9), text, text, text, octets)
terms = st.builds(
    Terms,
    text,
    st.sampled_from(TlsDemand),
    st.sampled_from(Pipelining),
    numbers,
    st.none() | st.builds(Login, text, text),
    st.builds(Timeouts, *[seconds] * len(Timeouts.__dataclass_fields__)),
)
calls = st.builds(
    Call, text, text, st.integers(0, 65_535), text, terms, seconds, seconds, seconds
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Open, numbers, calls),
    st.builds(
        Offer,
        numbers,
        st.lists(orders, max_size=4),
        st.lists(keys, max_size=2),
        st.booleans(),
    ),
    st.builds(Quit, numbers),
    st.builds(Recall, numbers, text),
    st.builds(Abort, numbers, text),
    st.just(Ping()),
)
replies = st.builds(
    Reply,
    st.integers(200, 599),
    text,
    text,
    st.sampled_from(Phase),
    st.sampled_from(Origin),
)
endings = st.builds(
    Ending,
    numbers,
    st.sampled_from(End),
    replies,
    st.lists(text, max_size=3).map(tuple),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Opened, numbers, text, st.booleans(), numbers),
    st.builds(NotOpened, numbers, replies, st.booleans()),
    st.builds(Ends, numbers, numbers, numbers, st.lists(endings, max_size=5)),
    st.builds(Closed, numbers, numbers, st.none() | replies),
    st.just(Pong()),
)
places = st.lists(st.integers(0, 5000))
CALL = Call(
    "mx.example.net",
    "192.0.2.1",
    25,
    "",
    Terms("out.example.org", TlsDemand.REQUIRED, Pipelining.NONE, 1),
    30,
    30,
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


def packed(command: Command) -> bytes:
    return b"".join(pack_command(command))


def frames_of(pieces: list[bytes]) -> list[Frame]:
    frames = Frames()
    return [frame for piece in pieces for frame in frames.feed(piece)]


def frame_of(head: object) -> Frame:
    [frame] = frames_of([b"".join(pack_frame(head))])
    return frame


@given(st.lists(commands, min_size=1, max_size=3), places)
def test_commands_arrive_as_they_were_however_they_are_cut(
    sent: list[Command], places: list[int]
) -> None:
    stream = b"".join(map(packed, sent))
    assert [parse_command(each) for each in frames_of(cut(stream, places))] == sent


@given(st.lists(st.lists(events, max_size=4), min_size=1, max_size=3), places)
def test_events_arrive_as_they_were_however_they_are_cut(
    sent: list[list[Event]], places: list[int]
) -> None:
    stream = b"".join(map(pack_events, sent))
    assert [parse_events(each) for each in frames_of(cut(stream, places))] == sent


@given(st.lists(commands, max_size=2), commands, st.integers(1, 10_000))
def test_a_frame_is_not_there_before_its_last_octet(
    before: list[Command], last: Command, missing: int
) -> None:
    frames, whole = Frames(), packed(last)
    missing = min(missing, len(whole))
    stream = b"".join([*map(packed, before), whole])
    first = frames.feed(stream[:-missing])
    assert [parse_command(each) for each in first] == before
    [frame] = frames.feed(stream[-missing:])
    assert parse_command(frame) == last


def test_what_is_no_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Frames().feed(pack(">II", 4, 0) + b"oops")
    with pytest.raises(ValueError, match="decode"):
        Frames().feed(pack(">II", 1, 0) + b"\xff")


def test_a_frame_that_is_too_long_is_an_error_before_it_is_there() -> None:
    whole = b"".join(pack_frame(["x" * 100]))
    assert len(Frames(len(whole)).feed(whole)) == 1
    with pytest.raises(ValueError, match="a frame of"):
        Frames(len(whole) - 1).feed(whole)
    with pytest.raises(ValueError, match="a frame of 8589934598 octets"):
        Frames(1_000_000).feed(pack(">II", 2**32 - 1, 2**32 - 1))


@pytest.mark.parametrize("head", [["dance", 1], ["ends", 1], [None, 1]])
def test_what_is_no_command_is_an_error(head: object) -> None:
    with pytest.raises(ValueError, match="no command"):
        parse_command(frame_of(head))


@pytest.mark.parametrize(
    "ending",
    [
        [1, "vanished", [], 250, "", "", "dot", "remote"],
        [1, "replied", [], 250, "", "", "later", "remote"],
        [1, "replied", [], 250, "", "", "dot", "elsewhere"],
    ],
)
def test_an_event_with_a_word_that_is_none_is_an_error(ending: list[Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        parse_events(frame_of([["ends", 1, 1, 1, [ending]]]))


@pytest.mark.parametrize("kind", ["dance", "open", "__class__"])
def test_an_event_of_no_kind_is_an_error(kind: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        parse_events(frame_of([[kind, 1]]))


def test_a_password_goes_to_the_process_and_does_not_show() -> None:
    login = Login("who", "correct horse")
    sent = Open(1, replace(CALL, terms=replace(CALL.terms, login=login)))
    [frame] = frames_of([packed(sent)])
    arrived = parse_command(frame)
    assert isinstance(arrived, Open)
    assert arrived.call.terms.login is not None
    assert arrived.call.terms.login.password == "correct horse"
    assert "'who'" in repr(arrived)
    for shown in (sent, arrived, frame):
        assert "correct horse" not in repr(shown)


def test_octets_are_not_said_in_json() -> None:
    header, body, der = b"Subject: x\r\n\r\n", b"\xff\x00\x80body\r\n", b"\x30\x82key"
    order = Order(1, 1, header, body, "b@example.org", "", 0, (0,))
    key = KeyOctets(0, "rsa-sha256", "example.com", "s1", der)
    [frame] = frames_of([packed(Offer(1, [order], [key]))])
    assert packed(Offer(1, [order], [key])).endswith(der + header + body)
    for secret in (b"\x80body", b"key", b"Subject"):
        assert secret not in json.dumps(frame.head).encode()
