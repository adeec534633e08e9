"""The client's rules, for any octets of a server.

* However the octets of a server are cut, the replies, events and output are the same.
* No octets make the session raise, and each transaction ends exactly once.
* Un-stuffing what goes over the wire gives the content, and no line of it ends it early.
"""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.attempt import End
from mailwright.mta.smtp.client import ClientSession, Closed, Event, Terms
from mailwright.mta.smtp.extensions import parse_extensions
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.replies import Malformed, Parsed, ReplyParser, to_reply
from mailwright.mta.smtp.stuffing import stuff
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Phase
from mailwright.site import Pipelining, TlsDemand

PIECES = [
    *(b"250", b"354", b"421", b"550", b"25", b"-", b" ", b"\r\n", b"\n", b"\r", b"\0"),
    *(b"2.0.0 ", b"5.1.1 ", b"Ok", b"\xff", b"250 Ok\r\n", b"250-a\r\n", b"a" * 700),
]
#: Octets that look like replies often enough to get deep.
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=40).map(
    b"".join
)
cuts = st.lists(st.integers(0, 3_000), max_size=12)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[a:b] for a, b in pairwise(bounds)]


def parsed(pieces: list[bytes]) -> list[Parsed]:
    parser, found = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not None:
            found.append(reply)
            if isinstance(reply, Malformed):
                return found
    return found


@given(streams, cuts)
def test_replies_do_not_depend_on_how_the_stream_is_cut(
    octets: bytes, places: list[int]
) -> None:
    whole = parsed([octets])
    assert parsed(cut(octets, places)) == whole
    assert parsed([octets[i : i + 1] for i in range(len(octets))]) == whole


@given(streams)
def test_what_a_server_says_is_always_a_reply_that_can_be_kept(octets: bytes) -> None:
    for one in parsed([octets]):
        if not isinstance(one, Malformed):
            reply = to_reply(one, Phase.DOT)
            assert len(reply.text) <= 2_000
            assert reply.text.isprintable() or "�" in reply.text
            parse_extensions(one.lines)


#: What a server may say to one command; the likely ones let a script go deep.
REPLIES = [
    b"250 Ok\r\n",
    b"250-2.0.0 one\r\n250 2.0.0 two\r\n",
    b"354 Go\r\n",
    b"451 4.7.1 Later\r\n",
    b"550 5.1.1 No\r\n",
    b"550 5.1.1 No\n",
    b"421 4.3.2 Bye\r\n",
    b"250ok\r\n",
    b"250-a\r\n550 b\r\n",
]
scripts = st.lists(
    st.sampled_from(REPLIES[:1] * 6 + REPLIES[2:3] * 3 + REPLIES), max_size=16
)


class Server:
    """Answers commands with a script; writes each time what it owes, in pieces."""

    def __init__(self, mode: Pipelining, keys: int) -> None:
        terms = Terms("out.example.org", TlsDemand.NONE, mode, 100)
        self.session = ClientSession(terms, now=0.0)
        self.events: list[Event] = []
        self.output = b""
        self.owed = 0
        self.session.receive(b"220 x\r\n250-x\r\n250 PIPELINING\r\n", now=0.0)
        offers = [
            Transaction(key, "a@example.net", f"{key}@example.com", b"x\r\n.\r\n", 3)
            for key in range(keys)
        ]
        self.events += self.session.offer(offers, now=0.0)
        self.drain()
        self.owed -= 1  # EHLO was answered

    def drain(self) -> None:
        while octets := self.session.take_output(now=0.0):
            self.output += octets
            self.owed += len(
                re.findall(rb"^(?:[A-Z]{4} ?.*|\.)\r\n", bytes(octets), re.MULTILINE)
            )

    def play(self, script: list[bytes], places: list[int] | None) -> None:
        left = list(script)
        while self.owed > 0 and left:
            said = b"".join(left[: self.owed])
            del left[: self.owed]
            self.owed = 0 if left else self.owed - len(script)
            for piece in cut(said, places) if places is not None else [said]:
                self.events += self.session.receive(piece, now=0.0)
                self.drain()
        self.events += self.session.on_lost("lost")


@given(st.sampled_from(list(Pipelining)), scripts, cuts)
@settings(max_examples=150)
def test_a_session_does_not_depend_on_how_the_stream_is_cut(
    mode: Pipelining, script: list[bytes], places: list[int]
) -> None:
    whole, pieces = Server(mode, 3), Server(mode, 3)
    whole.play(script, None)
    pieces.play(script, places)
    assert pieces.events == whole.events
    assert pieces.output == whole.output


@given(st.sampled_from(list(Pipelining)), scripts, streams, cuts)
@settings(max_examples=150)
def test_every_transaction_ends_once_whatever_the_server_says(
    mode: Pipelining, script: list[bytes], garbage: bytes, places: list[int]
) -> None:
    server = Server(mode, 4)
    server.play([*script, garbage], places)
    ended = [event for event in server.events if isinstance(event, Ended)]
    assert sorted(str(event.key) for event in ended) == ["0", "1", "2", "3"]
    assert isinstance(server.events[-1], Closed)
    assert sum(event.end is End.AMBIGUOUS for event in ended) <= 1


@given(streams, cuts)
def test_a_greeting_never_raises(octets: bytes, places: list[int]) -> None:
    terms = Terms("out.example.org", TlsDemand.OPPORTUNISTIC, Pipelining.NONE, 1)
    session = ClientSession(terms, now=0.0)
    for piece in cut(b"220 x\r\n250-x\r\n250 STARTTLS\r\n" + octets, places):
        session.receive(piece, now=0.0)
        session.take_output(now=0.0)
    session.on_lost("lost")


lines = st.lists(
    st.sampled_from([b"", b".", b"..", b".a", b"a", b"a.", b"From x"])
    | st.binary(max_size=9).map(lambda octets: re.sub(rb"[\r\n\0]", b".", octets)),
    max_size=9,
)


@given(lines, st.booleans())
def test_content_arrives_as_it_was(content_lines: list[bytes], ends: bool) -> None:
    content = b"\r\n".join(content_lines) + (b"\r\n" if ends else b"")
    wire = stuff(content)
    assert wire.endswith(b".\r\n")
    body = wire[:-3]
    assert b"\r\n" + body == b"\r\n" or body.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + body
    received = re.sub(rb"(?m)^\.", b"", body)
    complete = not content or content.endswith(b"\r\n")
    assert received == (content if complete else content + b"\r\n")
