"""The client side of one SMTP session: octets in, events and octets out.

Theory of operation. The driver connects, makes a :class:`ClientSession` and passes on
what happens: :meth:`~ClientSession.receive` for octets, ``on_tls`` when the handshake is
done, ``on_lost`` when the connection is gone, ``on_time`` when :attr:`deadline` has
passed. It writes what :meth:`~ClientSession.take_output` gives until that is empty, and
acts on events: upgrade to TLS at :class:`HandshakeDue`, offer transactions after
:class:`Ready`, note each :class:`~mailwright.mta.smtp.pipeline.Ended`, and close the
connection at :class:`Closed`, which is the last one. How the octets of the server are
cut changes nothing.

The rules of the start are in :mod:`~mailwright.mta.smtp.greeting`, those of mail in
:mod:`~mailwright.mta.smtp.pipeline`; here are the states that hold them together, the
deadlines, and the policy for failures: whatever the server does wrong ends the
connection, and every transaction in hand gets its end.

Standards: RFC 5321 §3.1–3.3, §3.8, §4.5.3.2 (timeouts); RFC 3207 §5 (nothing may follow
the 220 to STARTTLS); RFC 2920.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from mailwright.errors import RemoteProtocolError
from mailwright.mta.smtp import greeting
from mailwright.mta.smtp.extensions import Extensions
from mailwright.mta.smtp.greeting import Greeting, Login
from mailwright.mta.smtp.pipeline import Ended, Pipeline, Step
from mailwright.mta.smtp.replies import Malformed, ReplyParser, ServerReply
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Pipelining, TlsDemand

_QUIT: Final = b"QUIT\r\n"
_INJECTED: Final = "octets after the reply to STARTTLS"
#: Below this rate of taking a content the receiver counts as stuck.
MIN_OCTETS_PER_S: Final = 5_000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a whole reply must be there; octets of it buy no more time.

    The defaults are the minima of RFC 5321 §4.5.3.2, but for ``quit_s``: after QUIT
    nothing is at stake. A short ``dot_s`` makes duplicates (§4.5.3.2.6).
    """

    banner_s: float = 300
    hello_s: float = 300
    mail_s: float = 300
    rcpt_s: float = 300
    data_s: float = 120
    block_s: float = 180
    dot_s: float = 600
    quit_s: float = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """How a session is to be led.

    Attributes:
        ehlo_name: of the source; A-labels.
        tls: ``NONE`` also where a handshake failed lately.
        messages: transactions at most; at least 1.
        login: for a smarthost; needs ``tls`` to be ``REQUIRED``.
    """

    ehlo_name: str
    tls: TlsDemand
    pipelining: Pipelining
    messages: int
    login: Login | None = None
    timeouts: Timeouts = Timeouts()


class State(Enum):
    """Where a session is."""

    GREETING = "greeting"  # banner to AUTH; one command out at a time
    HANDSHAKE = "handshake"  # the driver does TLS; no octet in clear, either way
    READY = "ready"  # transactions
    QUITTING = "quitting"  # QUIT is out; only its reply is waited for
    CLOSED = "closed"  # final


_MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.GREETING: frozenset({State.HANDSHAKE, State.READY, State.CLOSED}),
    State.HANDSHAKE: frozenset({State.GREETING, State.CLOSED}),
    State.READY: frozenset({State.QUITTING, State.CLOSED}),
    State.QUITTING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class HandshakeDue:
    """Upgrade the connection to TLS now, then call ``on_tls``."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Transactions may be offered."""

    extensions: Extensions


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over: write what is left to write, then close the connection.

    Attributes:
        reply: why, when that was not our wish.
    """

    reply: Reply | None


Event: TypeAlias = HandshakeDue | Ready | Ended | Closed


class ClientSession:
    """One session from the banner to the end.

    Attributes:
        state: only this class moves it.
        deadline: steady seconds at which ``on_time`` is to be called, or ``None``.
    """

    __slots__ = (
        "_greeting",
        "_output",
        "_parser",
        "_pipeline",
        "_seen_progress",
        "_seen_step",
        "_terms",
        "deadline",
        "state",
    )

    def __init__(self, terms: Terms, *, now: float) -> None:
        """Start waiting for the banner."""
        self.state = State.GREETING
        self._terms = terms
        self._greeting = Greeting(terms.ehlo_name, terms.tls, terms.login)
        self._pipeline = Pipeline(Extensions(), terms.pipelining, 0)
        self._parser = ReplyParser()
        self._output = b""
        self._seen_progress = -1
        self._seen_step = greeting.Step.BANNER
        self.deadline: float | None = now + terms.timeouts.banner_s

    @property
    def extensions(self) -> Extensions:
        """What the server offers; valid from :class:`Ready` on."""
        return self._greeting.extensions

    @property
    def in_hand(self) -> int:
        """Transactions that were offered and have not ended."""
        return self._pipeline.in_hand

    @property
    def remaining(self) -> int:
        """How many transactions may still be offered in this session."""
        if self.state is not State.READY or self._pipeline.leaving is not None:
            return 0
        return self._pipeline.remaining

    @property
    def phase(self) -> Phase:
        """The phase in which a failure would be now."""
        if self.state in {State.GREETING, State.HANDSHAKE}:
            return self._greeting.phase
        return self._pipeline.phase

    def receive(self, data: bytes, *, now: float) -> list[Event]:
        """Take octets from the server.

        Never raises, whatever they are.
        """
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        if self.state is State.HANDSHAKE:
            # RFC 3207 §5, CVE-2021-38371: it could pose as a reply from inside TLS.
            self._fault(_INJECTED, events, enhanced="4.5.0")
            return events
        parser = self._parser
        parser.feed(data)
        try:
            while (said := parser.next_reply()) is not None:
                self._take(said, events, now)
        except RemoteProtocolError as error:
            self._fault(str(error), events, enhanced="4.5.0")
        self._rearm(now)
        return events

    def offer(self, transactions: Iterable[Transaction], *, now: float) -> list[Event]:
        """Queue transactions; return the ends of those that cannot go.

        Raises:
            LocalProtocolError: one is not fit for a command; those before it are queued.
        """
        events: list[Event] = []
        for transaction in transactions:
            ended = self._pipeline.offer(transaction)
            if ended is not None:
                events.append(ended)
        self._rearm(now)
        return events

    def take_output(self, *, now: float) -> bytes | memoryview:
        """Return what to write next; ``b""`` when there is nothing (for now)."""
        if self._output:
            output, self._output = self._output, b""
            return output
        content = self._pipeline.take_output()
        self._rearm(now)
        return content

    def on_tls(self, *, is_verified: bool, now: float) -> None:
        """Go on after the handshake."""
        self._move(State.GREETING)
        self._parser = ReplyParser()
        self._output = self._greeting.on_tls(is_verified=is_verified)
        self.deadline = now + self._terms.timeouts.hello_s

    def on_lost(self, text: str) -> list[Event]:
        """Take the loss of the connection; ``text`` says what happened, for people."""
        events: list[Event] = []
        if self.state is State.QUITTING:
            self._close(self._pipeline.leaving, events)
        elif self.state is not State.CLOSED:
            self._fault(text, events)
        return events

    def on_time(self, *, now: float) -> list[Event]:
        """Take the passing of time: a passed deadline ends the session."""
        if self.deadline is None or now < self.deadline:
            return []
        return self.on_lost("timed out waiting for the receiver")

    def quit(self, *, now: float) -> None:
        """Take nothing more, and end the session when what is in hand has ended."""
        self._pipeline.seal()
        self._quit_if_done(now)

    def recall(self, text: str, *, now: float) -> list[Event]:
        """End the session when what is on the wire has ended; give back the rest."""
        events: list[Event] = list(self._pipeline.recall(text))
        self._quit_if_done(now)
        self._rearm(now)
        return events

    def abort(self, text: str) -> list[Event]:
        """End the session at once because we want to; nothing begun counts."""
        events: list[Event] = []
        if self.state is not State.CLOSED:
            events.extend(self._pipeline.interrupt(text, counts=False))
            self._close(None, events)
        return events

    def _move(self, state: State) -> None:
        assert state in _MOVES[self.state], f"{self.state} does not lead to {state}"
        self.state = state

    def _take(
        self, said: ServerReply | Malformed, events: list[Event], now: float
    ) -> None:
        if self.state is State.QUITTING:
            self._close(self._pipeline.leaving, events)
        elif isinstance(said, Malformed):
            raise RemoteProtocolError(said.reason)
        elif self.state is State.READY:
            self._pipeline.on_reply(said, events.append)
            if self._pipeline.must_close:
                events.extend(self._pipeline.interrupt("session is over", counts=False))
                self._close(self._pipeline.leaving, events)
            self._quit_if_done(now)
        else:
            self._on_greeting(said, events)

    def _on_greeting(self, said: ServerReply, events: list[Event]) -> None:
        self._output += self._greeting.on_reply(said)
        step = self._greeting.step
        if step is greeting.Step.HANDSHAKE:
            self._move(State.HANDSHAKE)
            if not self._parser.is_empty:
                raise RemoteProtocolError(_INJECTED)
            events.append(HandshakeDue())
        elif step is greeting.Step.GREETED:
            self._move(State.READY)
            offered, terms = self._greeting.extensions, self._terms
            self._pipeline = Pipeline(offered, terms.pipelining, terms.messages)
            events.append(Ready(offered))
        elif step is greeting.Step.REFUSED:
            if said.code != 421:
                self._output += _QUIT
            self._close(self._greeting.refusal, events)

    def _quit_if_done(self, now: float) -> None:
        pipeline = self._pipeline
        if self.state is State.READY and pipeline.is_done:
            self._move(State.QUITTING)
            self._output += _QUIT
            self.deadline = now + self._terms.timeouts.quit_s

    def _fault(
        self, text: str, events: list[Event], *, enhanced: str = "4.4.2"
    ) -> None:
        """End the connection for what the server did or did not do."""
        pipeline = self._pipeline
        reply = pipeline.leaving or local_reply(421, enhanced, text, self.phase)
        if self.state is State.READY and not pipeline.in_hand and pipeline.started:
            # Between transactions a server may leave when it likes; it was idle.
            self._close(pipeline.leaving, events)
            return
        events.extend(pipeline.interrupt(text, counts=True))
        self._close(reply, events)

    def _close(self, reply: Reply | None, events: list[Event]) -> None:
        self._move(State.CLOSED)
        self._pipeline.seal()  # what is offered from now on comes straight back
        self._parser.clear()
        self.deadline = None
        events.append(Closed(reply))

    def _rearm(self, now: float) -> None:
        """Set the deadline for the reply that is awaited now, if that changed."""
        if self.state is State.READY:
            progress = self._pipeline.progress
            if progress != self._seen_progress:
                self._seen_progress = progress
                self.deadline = self._reply_due(now)
        elif self.state is State.GREETING:
            if self._greeting.step is not self._seen_step:
                self._seen_step = self._greeting.step
                self.deadline = now + self._terms.timeouts.hello_s
        elif self.state is State.HANDSHAKE:
            self.deadline = None  # the driver's handshake has its own

    def _reply_due(self, now: float) -> float | None:
        step, timeouts = self._pipeline.awaited, self._terms.timeouts
        if step is None:
            return None
        if step is Step.DOT:
            octets = self._pipeline.content_octets
            if octets:
                return now + timeouts.block_s + octets / MIN_OCTETS_PER_S
            return now + timeouts.dot_s
        if step is Step.DATA:
            return now + timeouts.data_s
        return now + (timeouts.rcpt_s if step is Step.RCPT else timeouts.mail_s)
