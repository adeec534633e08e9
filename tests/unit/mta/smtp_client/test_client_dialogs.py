"""Every dialog in tests/golden/client runs as it is written.

A dialog file has one step a line, and a run of steps of one kind is one step:

``S:`` the server says a line, ``S=`` octets with escapes, ``S.`` ``eof`` or ``wait N``
seconds; ``C:`` is all that we write now; ``E:`` are all events since the last ones;
``O:`` offers ``key reverse-path recipient content`` (``-`` is the null path; options
after it); ``T.`` is the handshake; ``Q.`` asks for the end; ``:`` are settings.
"""

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

from mailwright.mta.smtp.client import (
    ClientSession,
    Closed,
    Event,
    HandshakeDue,
    Ready,
    Terms,
)
from mailwright.mta.smtp.greeting import Login
from mailwright.mta.smtp.pipeline import Ended
from mailwright.mta.smtp.stuffing import stuff
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Reply
from mailwright.site import Pipelining, TlsDemand

DIALOGS = Path(__file__).parents[3] / "golden" / "client"
NAMES = sorted(path.stem for path in DIALOGS.glob("*.smtp"))


def unescaped(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def said(reply: Reply, *, with_text: bool) -> str:
    parts = [str(reply.code), reply.enhanced or "-", reply.phase, reply.origin]
    return " ".join([*parts, reply.text] if with_text else parts)


def spelled(event: Event, *, with_text: bool) -> str:
    match event:
        case HandshakeDue():
            return "handshake"
        case Ready():
            return "ready"
        case Closed(None):
            return "closed"
        case Closed(reply):
            assert reply is not None
            return f"closed {said(reply, with_text=with_text)}"
        case Ended(key, end, reply):
            name = end.value.replace(" ", "-")
            return f"{key} {name} {said(reply, with_text=with_text)}"


def transaction(line: str) -> Transaction:
    key, reverse_path, recipient, content, *options = line.split(" ")
    octets = unescaped(content)
    named = dict(option.split("=", 1) for option in options if "=" in option)
    return Transaction(
        key,
        "" if reverse_path == "-" else reverse_path,
        recipient,
        stuff(octets),
        len(octets),
        has_8bit="8bit" in options,
        **named,
    )


@dataclass
class Player:
    """Plays one dialog, with time at 0 until a step waits."""

    session: ClientSession
    now: float = 0.0
    events: list[Event] = field(default_factory=list)

    def play(self, kind: str, lines: list[str]) -> None:
        match kind:
            case "S:":
                self.receive(b"".join(line.encode() + b"\r\n" for line in lines))
            case "S=":
                self.receive(unescaped("".join(lines)))
            case "S.":
                self.befall(lines)
            case "C:":
                assert self.written() == [line.encode() for line in lines]
            case "E:":
                self.check_events(lines)
            case "O:":
                self.events += self.session.offer(
                    [transaction(line) for line in lines], now=self.now
                )
            case "T.":
                is_verified = lines == ["verified"]
                self.session.on_tls(is_verified=is_verified, now=self.now)
            case "Q.":
                self.session.quit(now=self.now)
            case _:
                pytest.fail(f"unknown step {kind}")

    def receive(self, octets: bytes) -> None:
        assert self.written() == [], "the dialog does not show all that we wrote"
        self.events += self.session.receive(octets, now=self.now)

    def befall(self, lines: list[str]) -> None:
        [what] = lines
        if what == "eof":
            self.events += self.session.on_lost("lost")
        else:
            self.now += float(what.removeprefix("wait "))
            self.events += self.session.on_time(now=self.now)

    def written(self) -> list[bytes]:
        octets = b""
        while piece := self.session.take_output(now=self.now):
            octets += piece
        assert not octets or octets.endswith(b"\r\n")
        return octets.split(b"\r\n")[:-1]

    def check_events(self, lines: list[str]) -> None:
        # A line says the reply's text only where it matters.
        assert len(self.events) == len(lines), self.events
        for event, line in zip(self.events, lines, strict=True):
            assert line in {
                spelled(event, with_text=True),
                spelled(event, with_text=False),
            }
        self.events.clear()


@pytest.mark.parametrize("name", NAMES)
def test_a_dialog_runs_as_written(name: str) -> None:
    text = (DIALOGS / f"{name}.smtp").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    settings = dict(line[2:].split(" ", 1) for line in lines if line.startswith(": "))
    login = settings.get("login")
    session = ClientSession(
        Terms(
            "out.example.org",
            TlsDemand(settings.get("tls", "none")),
            Pipelining(settings.get("pipelining", "commands")),
            int(settings.get("messages", "100")),
            Login(*login.split(" ")) if login else None,
        ),
        now=0.0,
    )
    player = Player(session)
    steps = [line for line in lines if not line.startswith(": ")]
    for kind, group in groupby(steps, key=lambda line: line[:2]):
        player.play(kind, [line[3:] for line in group])
    assert player.events == []
    assert player.written() == []


def test_there_are_dialogs() -> None:
    assert len(NAMES) > 40
