"""Every short script of replies, against a small model of what must come of it.

The server of the walk reads what the session writes, so what it sees is what a receiver
sees; the model judges from that transcript alone and shares nothing with the session.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mailwright.attempt import End
from mailwright.mta.smtp.client import ClientSession, Closed, State, Terms
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.transaction import Transaction
from mailwright.site import Pipelining, TlsDemand

#: What a server may do at a step; ``x`` is garbage, ``-`` the end of the connection.
MOVES = "2345Tx-"
OCTETS = {
    "2": b"250 2.0.0 Ok\r\n",
    "3": b"354 Go\r\n",
    "4": b"450 4.2.0 Later\r\n",
    "5": b"550 5.1.1 No\r\n",
    "T": b"421 4.3.2 Bye\r\n",
    "x": b"what?\r\n",
}
CODES = {"2": 250, "4": 450, "5": 550, "T": 421}
KEYS = (b"0", b"1", b"2")


@dataclass
class Seen:
    """One transaction as the receiver saw it: what it answered to each step."""

    mail: str = ""
    rcpt: str = ""
    data: str = ""
    dot: str = ""
    has_content: bool = False
    has_dot: bool = False


@dataclass
class Receiver:
    """Reads commands and answers the next one with the next move."""

    session: ClientSession
    seen: dict[bytes, Seen] = field(default_factory=dict)
    unread: bytes = b""
    open_key: bytes = b""
    in_content: bool = False
    answered: bool = False

    def read(self) -> None:
        while octets := self.session.take_output(now=0.0):
            self.unread += octets

    def next_command(self) -> bytes | None:
        """Return the next line that wants an answer; content ends with its dot."""
        while self.unread:
            line, _, self.unread = self.unread.partition(b"\r\n")
            if not self.in_content:
                return line
            if line == b".":
                return line
            one = self.seen[self.open_key]
            # No content but of a transaction whose every step was accepted.
            assert (one.mail, one.rcpt, one.data) == ("2", "2", "3")
            assert line == b"content of " + self.open_key
            one.has_content = True
        return None

    def answer(self, line: bytes, move: str) -> None:
        """Note the command, answer it with ``move``."""
        verb = line[:4]
        if verb == b"MAIL":
            self.open_key = line.removeprefix(b"MAIL FROM:<").partition(b"@")[0]
            assert self.open_key not in self.seen, "offered twice"
            self.seen[self.open_key] = Seen(mail=move)
        elif verb == b"RCPT":
            self.seen[self.open_key].rcpt = move
        elif verb == b"DATA":
            self.seen[self.open_key].data = move
            self.in_content = move == "3"
            assert not self.unread, "something followed DATA"
        elif line == b".":
            one = self.seen[self.open_key]
            one.has_dot = one.has_content
            one.dot = move
            self.in_content = False
        else:
            assert verb in {b"RSET", b"QUIT"}

    @property
    def is_at_end(self) -> bool:
        return self.session.state in {State.CLOSED, State.QUITTING}


def expected(one: Seen | None) -> tuple[End, int]:
    """Return how a transaction that was seen so must have ended, and the code."""
    if one is None:
        return End.NOT_OFFERED, 0
    for move in (one.mail, one.rcpt, one.data):
        if move and move in "45T":
            return End.REPLIED, CODES[move]
    if one.mail != "2":
        return End.NOT_OFFERED, 0
    if one.has_dot:
        if one.dot in {"2", "4", "5", "T"}:
            return End.REPLIED, CODES[one.dot]
        return End.AMBIGUOUS, 421
    return End.REPLIED, 421


def walked(mode: Pipelining, script: str) -> tuple[Receiver, list[object], bool]:
    """Play ``script``; return also the events and whether more moves would matter."""
    session = ClientSession(
        Terms("out.example.org", TlsDemand.NONE, mode, 100), now=0.0
    )
    session.receive(b"220 x\r\n250-x\r\n250 PIPELINING\r\n", now=0.0)
    receiver = Receiver(session)
    receiver.read()
    receiver.unread = b""
    events: list[object] = list(session.offer(TRANSACTIONS, now=0.0))
    for move in script:
        receiver.read()
        line = receiver.next_command()
        if line is None or receiver.is_at_end:
            break
        receiver.answer(line, move)
        if move == "-":
            break
        events += session.receive(OCTETS[move], now=0.0)
    receiver.read()
    goes_on = not receiver.is_at_end and "-" not in script
    # A dot that was written and not answered was handed out all the same.
    while (line := receiver.next_command()) is not None:
        if not receiver.is_at_end:
            receiver.answer(line, "")
    events += session.on_lost("lost")
    return receiver, events, goes_on


TRANSACTIONS = [
    Transaction(
        key,
        f"{key.decode()}@example.net",
        "b@example.com",
        b"content of " + key + b"\r\n.\r\n",
        14,
    )
    for key in KEYS
]


def scripts(mode: Pipelining, prefix: str, depth: int) -> Iterator[str]:
    """Yield every script of at most ``depth`` moves that a session lives through."""
    yield prefix
    if len(prefix) < depth and walked(mode, prefix)[2]:
        for move in MOVES:
            yield from scripts(mode, prefix + move, depth)


def check(mode: Pipelining, script: str) -> None:
    receiver, events, _ = walked(mode, script)
    assert isinstance(events[-1], Closed)
    ended = [event for event in events if isinstance(event, Ended)]
    ends = {event.key: event for event in ended}
    assert len(ended) == len(ends) == len(KEYS), "each ends exactly once"
    for key in KEYS:
        end, code = expected(receiver.seen.get(key))
        assert ends[key].end is end, (script, key)
        if end is not End.NOT_OFFERED:
            assert ends[key].reply.code == code, (script, key)


@pytest.mark.parametrize("mode", list(Pipelining))
def test_every_script_of_six_moves_ends_as_the_model_says(mode: Pipelining) -> None:
    count = 0
    for script in scripts(mode, "", 6):
        check(mode, script)
        count += 1
    assert count > 800


@pytest.mark.parametrize("mode", list(Pipelining))
def test_every_script_of_five_moves_after_one_message_does_too(
    mode: Pipelining,
) -> None:
    for script in scripts(mode, "2232", 9):
        check(mode, script)
