"""What a dialog on paper shows badly: time, slices, and the end at every step."""

import pytest

from mailwright.attempt import End
from mailwright.errors import LocalProtocolError
from mailwright.mta.smtp.client import (
    MIN_OCTETS_PER_S,
    ClientSession,
    Closed,
    Ready,
    State,
    Terms,
    Timeouts,
)
from mailwright.mta.smtp.greeting import Login
from mailwright.mta.smtp.pipeline import SLICE_OCTETS, Ended
from mailwright.mta.smtp.stuffing import stuff
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Origin, Phase, local_reply
from mailwright.site import Pipelining, TlsDemand

EHLO = b"250-mx.example.com\r\n250 PIPELINING\r\n"
#: What the server says, step by step, for one message without pipelining, and the phase
#: that a failure after it is in.
STEPS = [
    (b"", Phase.BANNER),
    (b"220 mx.example.com\r\n", Phase.EHLO),
    (b"250 mx.example.com\r\n", Phase.MAIL),
    (b"250 Ok\r\n", Phase.RCPT),
    (b"250 Ok\r\n", Phase.DATA),
    (b"354 Go\r\n", Phase.DOT),
]


def session(
    pipelining: Pipelining = Pipelining.NONE, timeouts: Timeouts | None = None
) -> ClientSession:
    terms = Terms(
        "out.example.org",
        TlsDemand.NONE,
        pipelining,
        100,
        timeouts=timeouts or Timeouts(),
    )
    return ClientSession(terms, now=0.0)


def transaction(key: object = 1, content: bytes = b"hello\r\n") -> Transaction:
    wire = stuff(content)
    return Transaction(key, "a@example.net", "b@example.com", wire, len(content))


def written(one: ClientSession, now: float = 0.0) -> bytes:
    octets = b""
    while piece := one.take_output(now=now):
        octets += piece
    return octets


def brought_to(step: int, now: float = 0.0) -> ClientSession:
    """Return a session that has received ``STEPS[: step + 1]``."""
    one = session()
    for octets, _ in STEPS[: step + 1]:
        if octets:
            events = one.receive(octets, now=now)
            if any(isinstance(event, Ready) for event in events):
                one.offer([transaction()], now=now)
        written(one, now)
    return one


#: How a lost transaction ends: not looked at, looked at, or nobody knows.
LOST = [None, None, End.NOT_OFFERED, End.REPLIED, End.REPLIED, End.AMBIGUOUS]


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_connection_that_is_lost_ends_the_transaction_by_how_far_it_was(
    step: int,
) -> None:
    phase = STEPS[step][1]
    *ended, closed = brought_to(step).on_lost("lost")
    reply = local_reply(421, "4.4.2", "lost", phase)
    assert closed == Closed(reply)
    end = LOST[step]
    assert ended == ([Ended(1, end, reply)] if end else [])


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_giving_up_ends_it_without_counting_it(step: int) -> None:
    *ended, closed = brought_to(step).abort("given up")
    assert closed == Closed(None)
    end = LOST[step]
    expected = End.NOT_OFFERED if end is End.REPLIED else end
    assert [event.end for event in ended if isinstance(event, Ended)] == (
        [expected] if expected else []
    )


TIMEOUTS = Timeouts(
    banner_s=1, hello_s=2, mail_s=3, rcpt_s=4, data_s=5, block_s=6, dot_s=7
)


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_every_reply_has_its_own_deadline(step: int) -> None:
    one = session(timeouts=TIMEOUTS)
    now = 100.0
    one.deadline = now + 1  # the session began when the first octet was waited for
    for octets, _ in STEPS[1 : step + 1]:
        for event in one.receive(octets, now=now):
            if isinstance(event, Ready):
                assert one.deadline is None
                one.offer([transaction()], now=now)
        written(one, now)
    patience_s = [1, 2, 3, 4, 5, 7][step]
    assert one.deadline == now + patience_s
    assert one.on_time(now=now + patience_s - 0.1) == []
    events = one.on_time(now=now + patience_s)
    assert isinstance(events[-1], Closed)
    assert one.state is State.CLOSED
    assert one.on_time(now=now + 1_000) == []


def test_octets_of_a_reply_buy_no_time() -> None:
    one = brought_to(5)
    assert one.deadline == 600
    for second in range(10):
        one.receive(b"250-%d\r\n2" % second if not second else b"50-x\r\n2", now=second)
        assert one.deadline == 600


def test_a_slow_receiver_of_a_large_content_has_a_deadline_by_its_size() -> None:
    one = brought_to(4)
    one.abort("not this one")
    one = session(timeouts=TIMEOUTS)
    content = b"x" * 70 + b"\r\n"
    content *= 10_000
    for octets, _ in STEPS[1:]:
        events = one.receive(octets, now=0.0)
        if any(isinstance(event, Ready) for event in events):
            one.offer([transaction(content=content)], now=0.0)
        if octets != b"354 Go\r\n":
            written(one)
    sizes = []
    while piece := one.take_output(now=50.0):
        sizes.append(len(piece))
        if sum(sizes) < len(content):
            due = TIMEOUTS.block_s + (len(content) + 3) / MIN_OCTETS_PER_S
            assert one.deadline == due
    assert max(sizes) == SLICE_OCTETS
    assert sum(sizes) == len(content) + 3
    assert one.deadline == 50.0 + TIMEOUTS.dot_s


def large_transfer() -> tuple[ClientSession, bytes]:
    """Return a session of which one slice of a content has been taken."""
    one = session(Pipelining.TRANSACTIONS)
    content = b"x" * SLICE_OCTETS + b"\r\n"
    one.receive(b"220 mx\r\n", now=0.0)
    written(one)
    one.receive(EHLO, now=0.0)
    one.offer([transaction(1, content), transaction(2)], now=0.0)
    written(one)
    one.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n", now=0.0)
    return one, bytes(one.take_output(now=0.0))


def test_the_next_group_follows_the_last_slice() -> None:
    one, first = large_transfer()
    assert first == b"x" * SLICE_OCTETS
    assert written(one) == (
        b"\r\n.\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
    )


def test_a_content_that_was_cut_is_not_ambiguous() -> None:
    one, _ = large_transfer()
    ends = [event for event in one.on_lost("lost") if isinstance(event, Ended)]
    assert [(ended.key, ended.end) for ended in ends] == [
        (1, End.REPLIED),
        (2, End.NOT_OFFERED),
    ]
    assert ends[0].reply.origin is Origin.LOCAL


def test_a_verdict_before_the_end_of_the_content_ends_the_connection() -> None:
    one, _ = large_transfer()
    events = one.receive(b"552 5.3.4 Too much\r\n", now=0.0)
    assert [
        (event.key, event.end, event.reply.code)
        for event in events
        if isinstance(event, Ended)
    ] == [(1, End.REPLIED, 552), (2, End.NOT_OFFERED, 421)]
    assert isinstance(events[-1], Closed)
    assert written(one) == b""


def test_success_before_the_end_of_the_content_is_no_success() -> None:
    one, _ = large_transfer()
    events = one.receive(b"250 Ok\r\n", now=0.0)
    [ended, _, closed] = events
    assert isinstance(ended, Ended)
    assert (ended.end, ended.reply.code) == (End.REPLIED, 421)
    assert isinstance(closed, Closed)


def test_what_is_not_fit_for_a_command_is_a_wrong_call() -> None:
    one = brought_to(2)
    hostile = Transaction(2, "a@example.net", "b@example.com\r\nRSET", b".\r\n", 0)
    with pytest.raises(LocalProtocolError):
        one.offer([hostile], now=0.0)


def test_a_closed_session_is_deaf_and_dumb() -> None:
    one = brought_to(5)
    one.on_lost("lost")
    assert one.receive(b"250 Ok\r\n", now=0.0) == []
    assert one.on_lost("again") == []
    assert one.abort("again") == []
    assert written(one) == b""
    [ended] = one.offer([transaction(2)], now=0.0)
    assert isinstance(ended, Ended)
    assert ended.end is End.NOT_OFFERED
    assert one.remaining == 0


def test_a_session_says_how_many_it_still_takes() -> None:
    one = session(Pipelining.COMMANDS)
    assert one.remaining == 0
    one.receive(b"220 mx\r\n", now=0.0)
    one.receive(b"250-mx\r\n250-LIMITS MAILMAX=3\r\n250 PIPELINING\r\n", now=0.0)
    assert one.remaining == 3
    one.offer([transaction(1), transaction(2)], now=0.0)
    assert (one.remaining, one.in_hand) == (1, 2)
    one.quit(now=0.0)
    assert one.remaining == 0


def test_a_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Login("user", "secret"))
