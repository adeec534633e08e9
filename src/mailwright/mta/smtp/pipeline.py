"""Transactions on a greeted connection, written ahead of the replies.

Theory of operation. Every command that was written stands in ``_awaiting`` until its
reply takes it out, so a reply is always paired with one command and an unexpected one is
seen at once. A transaction is a :class:`_Flight` from its MAIL to the last reply that it
is owed; there are at most two: one between its dot and the dot's reply, and in mode
``TRANSACTIONS`` the next one, whose MAIL, RCPT and DATA went out behind that dot.

Invariants:

* Content goes out only after 2xx to MAIL, 2xx to RCPT and 3xx to DATA.
* DATA is the last command of a group, and nothing follows it before its reply
  (RFC 2920 §3.1).
* Every transaction that was offered ends exactly once.
* ``AMBIGUOUS`` is only the end of one whose final dot was handed out and not answered.

Standards: RFC 5321 §3.3, §4.1.1, §4.3; RFC 2920 §3.1.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from mailwright.attempt import End
from mailwright.errors import RemoteProtocolError
from mailwright.mta.smtp.extensions import Extensions
from mailwright.mta.smtp.replies import ServerReply, to_reply
from mailwright.mta.smtp.stuffing import END_OF_DATA
from mailwright.mta.smtp.transaction import Transaction
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import Pipelining

#: Octets that are handed to the transport at once; larger contents go in slices, each
#: when the transport has room.
SLICE_OCTETS: Final = 262_144

#: Is called with each end, in the order in which transactions end.
OnEnded: TypeAlias = Callable[["Ended"], None]


class Step(Enum):
    """A command that awaits its reply."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "end of data"
    RSET = "RSET"


@dataclass(frozen=True, slots=True)
class Ended:
    """A transaction is over; ``key`` is that of its offer."""

    key: object
    end: End
    reply: Reply


class _Flight:
    """One transaction between its MAIL and its last reply.

    Attributes:
        has_mail: MAIL was accepted.
        has_rcpt: RCPT was accepted.
        failure: the first refusal; it is the verdict, whatever later commands get.
        is_sending: its content has begun to go out.
        is_handed: its final dot was handed out: it may have been delivered.
    """

    __slots__ = (
        "failure",
        "has_mail",
        "has_rcpt",
        "is_handed",
        "is_sending",
        "transaction",
    )

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.has_mail = False
        self.has_rcpt = False
        self.failure: Reply | None = None
        self.is_sending = False
        self.is_handed = False

    @property
    def phase(self) -> Phase:
        """The phase of the reply that it waits for."""
        if self.is_sending:
            return Phase.DOT
        if self.has_rcpt:
            return Phase.DATA
        return Phase.RCPT if self.has_mail else Phase.MAIL

    def ended(self, reply: Reply) -> Ended:
        """Return its end with a verdict."""
        return Ended(self.transaction.key, End.REPLIED, self.failure or reply)

    def interrupted(self, text: str, *, counts: bool) -> Ended:
        """Return its end when the connection ended first.

        With ``counts``, one that the server had begun to take counts as an attempt:
        else a message that makes a server hang up would be tried without end.
        """
        if self.failure is not None:
            return self.ended(self.failure)
        reply = local_reply(421, "4.4.2", text, self.phase)
        if self.is_handed:
            return Ended(self.transaction.key, End.AMBIGUOUS, reply)
        if self.has_mail and counts:
            return Ended(self.transaction.key, End.REPLIED, reply)
        return Ended(self.transaction.key, End.NOT_OFFERED, reply)


class Pipeline:
    """Carries transactions over one greeted connection.

    Attributes:
        leaving: why no further transaction starts (a 421, a refusal that is about us,
            a server that lost its place), or ``None``.
        must_close: the connection cannot even take a QUIT.
        started: MAIL commands so far.
        progress: grows with everything that restarts the clock on the server.
    """

    __slots__ = (
        "_awaiting",
        "_flights",
        "_limit",
        "_mode",
        "_needs_reset",
        "_offered",
        "_output",
        "_waiting",
        "leaving",
        "must_close",
        "progress",
        "started",
    )

    def __init__(self, offered: Extensions, mode: Pipelining, limit: int) -> None:
        """Start idle; ``limit`` and the server's own (RFC 9422) bound MAIL commands."""
        self._offered = offered
        self._mode = mode if offered.has_pipelining else Pipelining.NONE
        self._limit = min(limit, offered.mail_max) if offered.mail_max else limit
        self._awaiting: deque[tuple[Step, _Flight | None]] = deque()
        self._flights: deque[_Flight] = deque()
        self._waiting: deque[Transaction] = deque()
        self._output: deque[tuple[bytes | memoryview, _Flight | None]] = deque()
        self.started = 0
        self._needs_reset = False
        self.leaving: Reply | None = None
        self.must_close = False
        self.progress = 0

    @property
    def in_hand(self) -> int:
        """Transactions that were offered and have not ended."""
        return len(self._waiting) + len(self._flights)

    @property
    def remaining(self) -> int:
        """How many more may be offered."""
        return self._limit - self.started - len(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether nothing is in hand and nothing more may be offered."""
        if self._awaiting or self._flights or self._waiting:
            return False
        return self.leaving is not None or self.started >= self._limit

    @property
    def awaited(self) -> Step | None:
        """What the next reply is to."""
        return self._awaiting[0][0] if self._awaiting else None

    @property
    def phase(self) -> Phase:
        """The phase of the next reply."""
        return self._flights[0].phase if self._flights else Phase.MAIL

    @property
    def content_octets(self) -> int:
        """Octets of the content of which the end was not handed out yet, else 0."""
        for flight in self._flights:
            if flight.is_sending and not flight.is_handed and flight.failure is None:
                return len(flight.transaction.wire)
        return 0

    def offer(self, transaction: Transaction) -> Ended | None:
        """Take a transaction; return its end if it cannot go over this connection.

        Raises:
            LocalProtocolError: it is not fit for a command.
        """
        transaction.check()
        misfit = transaction.misfit(self._offered)
        if misfit is not None:
            return Ended(transaction.key, End.REPLIED, misfit)
        if self.leaving is not None or self.remaining <= 0:
            reply = self.leaving or local_reply(
                421, "4.3.2", "session is over", Phase.MAIL
            )
            return Ended(transaction.key, End.NOT_OFFERED, reply)
        self._waiting.append(transaction)
        self._advance()
        return None

    def seal(self) -> None:
        """Take nothing more than was offered."""
        self._limit = self.started + len(self._waiting)

    def recall(self, text: str) -> list[Ended]:
        """Give back what has not begun, and take nothing more; what has begun ends."""
        self._limit = self.started
        return self._give_back(local_reply(421, "4.3.2", text, Phase.MAIL))

    def take_output(self) -> bytes | memoryview:
        """Return what to write now, ``b""`` for nothing; at most a slice of content."""
        output = self._output
        if not output:
            return b""
        room = SLICE_OCTETS
        taken: list[bytes | memoryview] = []
        while output and room > 0:
            octets, flight = output.popleft()
            if len(octets) > room:
                view = memoryview(octets)
                taken.append(view[:room])
                output.appendleft((view[room:], flight))
                break
            taken.append(octets)
            room -= len(octets)
            if flight is not None:
                flight.is_handed = True
                self.progress += 1
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def on_reply(self, said: ServerReply, on_ended: OnEnded) -> None:
        """Take one reply; report the transactions that it ends.

        Raises:
            RemoteProtocolError: no command has this reply; the connection must end.
        """
        self.progress += 1
        if said.code == 421:
            self._on_leaving(said, on_ended)
            return
        if not self._awaiting:
            raise RemoteProtocolError("reply without a command")
        step, flight = self._awaiting[0]
        if said.code < 400 and (said.code >= 300) != (step is Step.DATA):
            raise RemoteProtocolError(f"{said.code} is no reply to {step.value}")
        self._awaiting.popleft()
        if flight is None:
            if said.code >= 400:
                raise RemoteProtocolError(f"RSET was refused with {said.code}")
        elif step is Step.DOT:
            self._on_dot(flight, said, on_ended)
        elif step is Step.DATA:
            self._on_data(flight, said, on_ended)
        elif step is Step.MAIL:
            self._on_mail(flight, said, on_ended)
        else:
            self._on_rcpt(flight, said, on_ended)
        if self._waiting and (step is Step.DATA or not self._awaiting):
            self._advance()

    def interrupt(self, text: str, *, counts: bool) -> list[Ended]:
        """End everything that is in hand: the connection is, or will be, gone."""
        ended = [flight.interrupted(text, counts=counts) for flight in self._flights]
        self._flights.clear()
        self._awaiting.clear()
        self._output.clear()
        ended.extend(self._give_back(local_reply(421, "4.4.2", text, Phase.MAIL)))
        return ended

    def _give_back(self, reply: Reply) -> list[Ended]:
        unsent = [Ended(one.key, End.NOT_OFFERED, reply) for one in self._waiting]
        self._waiting.clear()
        return unsent

    def _advance(self) -> None:
        """Start the next transaction if the mode lets it go out now."""
        while self._waiting and self.leaving is None and self._may_start():
            if self._needs_reset:
                self._needs_reset = False
                self._say(b"RSET\r\n", Step.RSET, None)
                if self._mode is Pipelining.NONE:
                    return
            self._start(_Flight(self._waiting.popleft()))

    def _may_start(self) -> bool:
        if not self._awaiting:
            return True
        # Behind a dot, which ends a transaction whatever its reply: no RSET is due.
        last, _ = self._awaiting[-1]
        return self._mode is Pipelining.TRANSACTIONS and last is Step.DOT

    def _start(self, flight: _Flight) -> None:
        self.started += 1
        self._flights.append(flight)
        transaction = flight.transaction
        mail = transaction.mail_command(self._offered)
        if self._mode is Pipelining.NONE:
            self._say(mail, Step.MAIL, flight)
            return
        rcpt = transaction.rcpt_command(self._offered)
        if not self._awaiting:
            self.progress += 1
        self._output.append((b"%b%bDATA\r\n" % (mail, rcpt), None))
        self._awaiting.extend(
            ((Step.MAIL, flight), (Step.RCPT, flight), (Step.DATA, flight))
        )

    def _say(self, command: bytes, step: Step, flight: _Flight | None) -> None:
        self.progress += 1
        self._output.append((command, None))
        self._awaiting.append((step, flight))

    def _finish(self, flight: _Flight, reply: Reply, on_ended: OnEnded) -> None:
        self._flights.remove(flight)
        on_ended(flight.ended(reply))

    def _on_mail(self, flight: _Flight, said: ServerReply, on_ended: OnEnded) -> None:
        if said.code < 300:
            flight.has_mail = True
            if self._mode is Pipelining.NONE:
                rcpt = flight.transaction.rcpt_command(self._offered)
                self._say(rcpt, Step.RCPT, flight)
            return
        flight.failure = to_reply(said, Phase.MAIL)
        if said.code < 500:
            # A 4xx before any recipient is about us: send nothing more here for now.
            self._leave(flight.failure, on_ended)
        if self._mode is Pipelining.NONE:
            self._finish(flight, flight.failure, on_ended)

    def _on_rcpt(self, flight: _Flight, said: ServerReply, on_ended: OnEnded) -> None:
        if said.code < 300:
            flight.has_rcpt = True
            if self._mode is Pipelining.NONE:
                self._say(b"DATA\r\n", Step.DATA, flight)
            return
        if flight.failure is None:
            flight.failure = to_reply(said, Phase.RCPT)
        if self._mode is Pipelining.NONE:
            self._needs_reset = True
            self._finish(flight, flight.failure, on_ended)

    def _on_data(self, flight: _Flight, said: ServerReply, on_ended: OnEnded) -> None:
        if said.code >= 400:
            # RFC 5321 §4.1.1.4 leaves open whether MAIL still stands; RSET settles it.
            self._needs_reset = flight.has_mail or flight.has_rcpt
            self._finish(flight, to_reply(said, Phase.DATA), on_ended)
            return
        flight.is_sending = True
        if flight.failure is not None:
            # RFC 2920 §3.1: the server wants content though no recipient is left.
            self._output.append((END_OF_DATA, None))
        else:
            assert flight.has_mail
            assert flight.has_rcpt
            self._output.append((flight.transaction.wire, flight))
        self._awaiting.append((Step.DOT, flight))

    def _on_dot(self, flight: _Flight, said: ServerReply, on_ended: OnEnded) -> None:
        if flight.failure is None and not flight.is_handed:
            # A verdict before the end of the content: the rest cannot be taken back.
            self.must_close = True
            reply = to_reply(said, Phase.DOT)
            if said.code < 300:
                raise RemoteProtocolError(f"{said.code} before the end of data")
            self._leave(reply, on_ended)
        self._finish(flight, to_reply(said, Phase.DOT), on_ended)

    def _leave(self, reply: Reply, on_ended: OnEnded) -> None:
        self.leaving = reply
        for ended in self._give_back(reply):
            on_ended(ended)

    def _on_leaving(self, said: ServerReply, on_ended: OnEnded) -> None:
        """421: the server closes (RFC 5321 §3.8); it is the verdict on what it answers."""
        reply = to_reply(said, self.phase)
        self.must_close = True
        if self._awaiting and (flight := self._awaiting[0][1]) is not None:
            self._finish(flight, reply, on_ended)
        self._leave(reply, on_ended)
