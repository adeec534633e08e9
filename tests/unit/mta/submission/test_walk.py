"""Every short script of commands, against a small model of the session.

Oracle: the codes that are said, and the envelopes that the intake gets. Each MAIL and RCPT
names an address of its own, so an envelope shows which commands it was made of: nothing is
accepted without a MAIL and a RCPT of its own, whatever went before.
"""

import asyncio
import dataclasses
import itertools
import logging
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from typing_extensions import override

from fakes.door import (
    FakeIntake,
    MemoryPeer,
    admission_of,
    codes,
    intake_of,
    make_ports,
    open_settings,
)
from mailwright.mta.admission import Offer
from mailwright.mta.ports import Guards
from mailwright.mta.submission.dialogue import Dialogue, State
from mailwright.mta.submission.server import SubmissionSession
from mailwright.reply import Phase, Reply, local_reply
from mailwright.submission import Accepted, Submission

pytestmark = pytest.mark.slow

Envelope = tuple[str, tuple[str, ...]]


class Model:
    """What RFC 5321 §4.1.4 and RFC 3207 §4.2 let a client do."""

    def __init__(self) -> None:
        self.has_greeted = False
        self.is_secure = False
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.accepted: list[Envelope] = []
        self._numbers = itertools.count()

    def step(self, symbol: str) -> tuple[bytes, list[int]]:
        """Return what to send for ``symbol``, and the codes of the answers."""
        return _STEPS[symbol](self, next(self._numbers))

    def reset(self) -> None:
        self.sender, self.recipients = None, []

    def ehlo(self, _number: int) -> tuple[bytes, list[int]]:
        self.reset()
        self.has_greeted = True
        return b"EHLO client.example\r\n", [250]

    def mail(self, number: int, text: str = "MAIL FROM:<s%d@example.com>\r\n") -> Any:
        fits = self.has_greeted and self.sender is None
        is_good = "<" in text
        if fits and is_good:
            self.sender = f"s{number}@example.com"
        line = text % number if is_good else text
        return line.encode(), [503 if not fits else 250 if is_good else 501]

    def bad_mail(self, number: int) -> Any:
        return self.mail(number, "MAIL FROM:s@example.com\r\n")

    def rcpt(self, number: int) -> tuple[bytes, list[int]]:
        if self.sender is not None:
            self.recipients.append(f"r{number}@example.net")
        line = f"RCPT TO:<r{number}@example.net>\r\n".encode()
        return line, [503 if self.sender is None else 250]

    def bad_rcpt(self, _number: int) -> tuple[bytes, list[int]]:
        return b"RCPT TO:<>\r\n", [503 if self.sender is None else 501]

    def data(self, code: int) -> tuple[bytes, list[int]]:
        if not self.recipients or self.sender is None:
            return b"DATA\r\n", [503]
        if code == 250:
            self.accepted.append((self.sender, tuple(self.recipients)))
        self.reset()
        return b"DATA\r\nVerdict: %d\r\n\r\n.\r\n" % code, [354, code]

    def rset(self, _number: int) -> tuple[bytes, list[int]]:
        self.reset()
        return b"RSET\r\n", [250]

    def tls(self, _number: int) -> tuple[bytes, list[int]]:
        if not self.has_greeted or self.sender is not None or self.is_secure:
            return b"STARTTLS\r\n", [503]
        self.reset()
        self.has_greeted, self.is_secure = False, True
        return b"STARTTLS\r\n", [220]


_STEPS: dict[str, Callable[[Model, int], tuple[bytes, list[int]]]] = {
    "E": Model.ehlo,
    "M": Model.mail,
    "m": Model.bad_mail,
    "R": Model.rcpt,
    "r": Model.bad_rcpt,
    "D": lambda model, _: model.data(250),
    "d": lambda model, _: model.data(550),
    "f": lambda model, _: model.data(451),
    "S": Model.rset,
    "T": Model.tls,
}


def verdict(offer: Offer) -> Reply | None:
    if offer.header.startswith(b"Verdict: 550"):
        return local_reply(550, "5.7.1", "not taken", Phase.DOT)
    return None


class FailingIntake(FakeIntake):
    """Has an error of its own for what says so."""

    @override
    async def accept(
        self, submission: Submission, guards: Guards | None = None
    ) -> Accepted:
        if b"Verdict: 451" in submission.header:
            raise RuntimeError("no disk at /var/secret")
        return await super().accept(submission, guards)


class WithoutHandshake(SubmissionSession):
    """Takes the TLS handshake for done: there is no socket to do it on."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)

        async def start_tls(*_args: object, **_options: object) -> None: ...

        self._writer.start_tls = start_tls  # type: ignore[method-assign]


async def walk(script: Iterable[str], tasks: asyncio.TaskGroup, tls: Any) -> None:
    """Walk one connection through ``script``, comparing every answer."""
    ports = make_ports()
    intake = FailingIntake()
    ports = dataclasses.replace(ports, intake=intake)
    admission_of(ports).verdict = verdict
    settings = open_settings(tls=tls, max_errors=10**9, max_commands=10**9)
    peer = MemoryPeer(settings, ports, tasks, session=WithoutHandshake)
    assert codes(await peer.connect()) == [220]
    model = Model()
    for part in in_packets(script):
        sent, expected = b"", []
        for symbol in part:
            octets, answers = model.step(symbol)
            sent += octets
            expected += answers
        assert codes(await peer.send(sent)) == expected, "".join(part)
    got = [
        (str(envelope.reverse_path), tuple(str(r.address) for r in envelope.recipients))
        for envelope in intake_of(ports).envelopes
    ]
    assert got == model.accepted
    peer.disconnect()


def in_packets(script: Iterable[str]) -> Iterator[list[str]]:
    """Group what may be pipelined; nothing may follow STARTTLS in its packet."""
    packet: list[str] = []
    for symbol in script:
        packet.append(symbol)
        if symbol == "T" or len(packet) == 50:
            yield packet
            packet = []
    if packet:
        yield packet


def every_word(symbols: str, length: int) -> list[str]:
    """Return a script in which every word of ``length`` symbols occurs.

    A de Bruijn sequence: Lyndon words whose length divides ``length``, in order (Duval).
    """
    digits: list[int] = []
    word = [-1]
    while word:
        word[-1] += 1
        period = len(word)
        if length % period == 0:
            digits += word
        while len(word) < length:
            word.append(word[-period])
        while word and word[-1] == len(symbols) - 1:
            word.pop()
    return [symbols[digit] for digit in digits + digits[: length - 1]]


def walk_all(scripts: Iterable[Iterable[str]], tls: Any) -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            for script in scripts:
                await walk(script, tasks, tls)

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Each failure of ours is logged with its traceback, here thousands of times.
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize(("symbols", "length"), [("EMmRrDdfS", 5), ("EMRDdS", 6)])
def test_every_word_of_commands_in_one_long_session(
    symbols: str, length: int, tls: ssl.SSLContext
) -> None:
    script = every_word(symbols, length)
    assert len(script) == len(symbols) ** length + length - 1
    walk_all([script], tls)


def test_every_script_of_three_commands_in_a_session_of_its_own(
    tls: ssl.SSLContext,
) -> None:
    walk_all(itertools.product("EMmRrDdfST", repeat=3), tls)


def test_every_way_to_tls_and_on(tls: ssl.SSLContext) -> None:
    walk_all(
        (
            [*"EM"[:before], *middle, "E", *after]
            for before in (0, 1, 2)
            for middle in itertools.product("TSE", repeat=2)
            for after in itertools.product("MRDT", repeat=3)
        ),
        tls,
    )


def keep_everything(dialogue: Dialogue) -> None:
    """Leave MAIL and RCPT set."""
    dialogue.state = State.RECIPIENTS_GIVEN


def keep_recipients(dialogue: Dialogue) -> None:
    """Forget MAIL, but not the RCPTs."""
    dialogue._mail = None
    dialogue.state = State.GREETED


def keep_names(dialogue: Dialogue) -> None:
    """Go on under TLS with what was said before it."""
    dialogue.is_secure = True


@pytest.mark.parametrize(
    ("method", "fault"),
    [("reset", keep_everything), ("reset", keep_recipients), ("secured", keep_names)],
)
def test_a_session_that_forgets_to_forget_fails_the_walk(
    method: str,
    fault: Callable[[Dialogue], None],
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: the walk is worth something only if it catches these."""
    monkeypatch.setattr(Dialogue, method, fault)
    with pytest.raises(ExceptionGroup) as caught:
        walk_all([every_word("EMRDS", 5), "ETMRD"], tls)
    assert caught.group_contains(AssertionError)


def test_the_script_holds_every_word() -> None:
    script = "".join(every_word("abc", 4))
    words = {script[at : at + 4] for at in range(len(script) - 3)}
    assert words == {"".join(word) for word in itertools.product("abc", repeat=4)}
