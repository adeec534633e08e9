"""Moves octets between a connection and its dialogue; the only file here with timeouts.

Theory of operation. Commands are obeyed, and small messages gathered, in the callback that
brings them: a task that is woken for each read costs more than the read. Only what takes
time (a message that is whole or large, a login, TLS, a peer that does not read its replies)
is :data:`Work` for the task that runs the conversation; while it is at work, what comes
waits in the :class:`~mailwright.mta.submission.inflow.Inflow`.

Promises:

* Replies to pipelined commands leave in one write; a reply is written before we wait.
* A disconnect cancels nothing: reading and writing then say that the peer is gone, and an
  acceptance that has begun is awaited to its end (RFC 1047: who took a message must know
  it). No timer of ours runs meanwhile; the intake has its own patience.
* Whatever came of a message, its envelope is forgotten, its memory is given back and its
  file is closed.
* An error of ours is ``451 4.3.0`` with an id that is in the log, and nothing else.

One module though it is long: all that awaits the peer is one machine, whose state (what
is owed, what is at work, what may be read) no two files could keep without telling each
other everything.

Standards: RFC 5321 §4.5.3.2 (timeouts), RFC 3207 §4.2 and RFC 8314 §3.3 (TLS).
"""

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never

from mailwright.mta.admission import Offer
from mailwright.mta.smtp.framing import Content, ContentEnd, LineFault, LineReader
from mailwright.mta.submission import answers
from mailwright.mta.submission.dialogue import (
    Answer,
    BeginTls,
    Dialogue,
    HangUp,
    LogIn,
    ReadMessage,
)
from mailwright.mta.submission.door import Door
from mailwright.mta.submission.gathering import Gathering, Wants
from mailwright.mta.submission.inflow import Inflow
from mailwright.mta.submission.login import Challenge, LoginExchange, NameAndSecret
from mailwright.mta.submission.ports import PeerIp
from mailwright.mta.submission.trace import protocol_name, received_field
from mailwright.reply import Phase, Reply, local_reply
from mailwright.submission import NotAcceptedError, PatienceOverError, Submission

_logger = logging.getLogger(__name__)

#: After so many commands in one go, others have their turn.
_LINES_A_TURN: Final = 100
#: Larger bodies are admitted in a thread: it would hold the loop for over 1 ms.
INLINE_BODY_OCTETS: Final = 262_144
# A peer that has left this much unread may not begin TLS: starting it must not wait
# between the last look for stray octets and the hand-over of the connection.
_MAX_UNSENT_OCTETS: Final = 16_384


class PeerGoneError(Exception):
    """There is nobody to answer any more, or nothing that may be answered."""


class Pause(Enum):
    """Work that is only waiting."""

    MORE_LINES = "let others have their turn"
    UNSENT = "wait until the peer reads"


@dataclass(frozen=True, slots=True)
class TakeMessage:
    """A message that is whole, or one that takes more room than is there at once."""

    gathering: Gathering
    end: ContentEnd | None = None


#: What takes time.
Work: TypeAlias = TakeMessage | LogIn | BeginTls | Pause


class Conversation:
    """One connection from its greeting to its end.

    Args:
        door: what it shares with the listener's others.
        peer: whom it is with.
        writer: of the connection; what it brings is handed to :meth:`octets_came`.
    """

    def __init__(self, door: Door, peer: PeerIp, writer: asyncio.StreamWriter) -> None:
        self._door = door
        self._settings = door.settings
        self._peer = peer
        self._writer = writer
        self._inflow = Inflow(writer)
        self._loop = asyncio.get_running_loop()
        self._dialogue = Dialogue(door.settings, door.network_credential(peer))
        if writer.get_extra_info("ssl_object") is not None:
            self._dialogue.secured()
        self._lines = LineReader()
        self._out: list[bytes] = []
        self._is_over = False
        self._is_waiting = False
        self._parked: asyncio.Future[Work | None] | None = None
        self._gathering: Gathering | None = None
        self._is_in_step = True
        self._messages = 0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.id: Final = door.fresh_id()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the peer."""
        if not self._is_waiting or self._inflow.octets:
            return False
        return self._parked is None or not self._parked.done()

    def octets_came(self, octets: bytes) -> None:
        """Act on ``octets``, or keep them for who is at work."""
        if self._parked is None or self._parked.done():
            self._inflow.feed(octets)
            return
        work = self._take_in(octets)
        if work is None and not self._is_over:
            if not self._out:
                return
            self._writer.write(self._take_out())
            if not self._writer.transport.get_write_buffer_size():
                return
            work = Pause.UNSENT
        self._parked.set_result(work)

    def ended(self) -> None:
        """Note that the peer sends nothing more."""
        self._inflow.end()
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    def lost(self) -> None:
        """Note that the connection has ended."""
        self.ended()
        if self._timer is not None:
            self._timer.cancel()

    def stop(self) -> None:
        """Let a transaction come to its end, then close; close at once if there is none."""
        self._dialogue.stop()
        if self._is_waiting and self._dialogue.should_leave:
            self._writer.write(answers.STOPPING)
            self._writer.close()

    async def run(self) -> None:
        """Talk to the end. Never raises but when cancelled."""
        self._watch()
        try:
            await self._converse()
        except PeerGoneError:
            pass
        except Exception:
            self._door.counts.failures += 1
            _logger.exception("SMTP session %s failed", self.id)
        finally:
            self._close()

    async def _converse(self) -> None:
        self._say(answers.greeting(self._settings.hostname))
        self._await_line()
        while not self._is_over:
            work = self._take_in(b"")  # what the work before has left
            if work is None and not self._is_over:
                work = await self._next_work()
            if work is not None:
                try:
                    await self._do(work)
                except PeerGoneError:
                    raise
                except Exception:
                    failure = self._door.fresh_id()
                    _logger.exception("SMTP session %s: failure %s", self.id, failure)
                    self._fail(failure)
                self._await_line()
        await self._flush()

    def _await_line(self) -> None:
        # One deadline for the whole line: a trickle of octets does not move it. Nor does
        # anything move that of a whole message.
        if self._gathering is None:
            self._deadline = self._loop.time() + self._settings.command_timeout_s

    def _take_in(self, octets: bytes) -> Work | None:
        """Act on ``octets``; return what takes time, if something does."""
        try:
            if self._gathering is not None:
                return self._gather(self._gathering, octets) if octets else None
            self._lines.feed(octets)
            return self._obey_lines()
        except Exception:
            failure = self._door.fresh_id()
            _logger.exception("SMTP session %s: failure %s", self.id, failure)
            self._fail(failure)
            return Pause.MORE_LINES

    def _obey_lines(self) -> Work | None:
        """Obey the lines that are there; return what takes time, if something does."""
        for obeyed in range(_LINES_A_TURN):
            line = self._lines.next_line()
            if line is None:
                if obeyed:
                    self._await_line()
                return None
            work = self._obey(line)
            if work is not None or self._is_over or self._gathering is not None:
                return work
        return Pause.MORE_LINES

    def _obey(self, line: bytes | LineFault) -> Work | None:
        if isinstance(line, LineFault):
            self._violated(line.value)
            self._act(self._dialogue.fault(line))
            return None
        event = self._dialogue.receive(line)
        match event:
            case Answer() | HangUp():
                self._act(event)
                return None
            case ReadMessage():
                return self._begin_message()
            case _:
                return event

    async def _next_work(self) -> Work | None:
        """Wait for the peer; return what it wants done, if that takes time."""
        await self._flush()
        if self._inflow.octets:
            return self._take_in(self._inflow.take())
        if self._inflow.has_ended:
            raise PeerGoneError
        if self._dialogue.should_leave:
            self._say(answers.STOPPING)
            self._is_over = True
            return None
        self._is_waiting = True
        self._parked = self._loop.create_future()
        try:
            return await self._parked
        finally:
            self._parked = None
            self._is_waiting = False

    async def _do(self, work: Work) -> None:
        match work:
            case TakeMessage():
                await self._take_message(work)
            case LogIn():
                await self._log_in(LoginExchange(work.command.mechanism), work)
            case BeginTls():
                await self._start_tls()
            case Pause.MORE_LINES:
                await self._flush()
                await asyncio.sleep(0)  # the other connections have lines as well
            case Pause.UNSENT:
                await self._flush()
            case _:
                assert_never(work)

    def _act(self, event: Answer | HangUp) -> None:
        self._say(event.octets)
        if isinstance(event, HangUp):
            self._is_over = True

    def _fail(self, failure: str) -> None:
        """Answer for an error of ours; the log knows it by the id ``failure``."""
        self._door.counts.failures += 1
        text = f"temporary failure, id {failure}"
        reply = local_reply(451, "4.3.0", text, Phase.DOT)
        self._act(self._dialogue.message_ended(reply))
        if not self._is_in_step:
            # What comes next may be content: it must not be taken for commands.
            self._is_over = True

    # Reading and writing.

    def _say(self, octets: bytes) -> None:
        self._out.append(octets)

    def _take_out(self) -> bytes:
        said = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return said

    async def _flush(self) -> None:
        if self._out:
            self._writer.write(self._take_out())
        if not self._writer.transport.get_write_buffer_size():
            return
        try:
            await self._writer.drain()
        except OSError as error:
            raise PeerGoneError from error

    async def _read(self) -> bytes:
        """Return what has come, after saying what there is to say."""
        await self._flush()
        self._is_waiting = True
        try:
            octets = await self._inflow.read()
        finally:
            self._is_waiting = False
        if not octets:
            raise PeerGoneError
        return octets

    async def _next_line(self) -> bytes | LineFault:
        self._await_line()
        while (line := self._lines.next_line()) is None:
            if self._dialogue.should_leave:
                self._say(answers.STOPPING)
                await self._flush()
                raise PeerGoneError
            self._lines.feed(await self._read())
        return line

    # TLS and AUTH.

    async def _start_tls(self) -> None:
        tls = self._settings.tls
        if tls is None or self._has_stray_octets():
            self._is_over = True
            return
        self._say(answers.READY_FOR_TLS)
        await self._flush()
        transport = self._writer.transport
        is_stuck = transport.get_write_buffer_size() > _MAX_UNSENT_OCTETS
        if is_stuck or transport.is_closing() or self._has_stray_octets():
            raise PeerGoneError
        try:
            await self._writer.start_tls(
                tls, ssl_handshake_timeout=self._settings.tls_timeout_s
            )
        except OSError as error:
            raise PeerGoneError from error
        self._dialogue.secured()

    def _has_stray_octets(self) -> bool:
        """Whether anything came in clear that TLS would make look protected."""
        if self._lines.is_empty and not self._inflow.octets:
            return False
        self._violated("octets behind STARTTLS")
        return True

    async def _log_in(self, exchange: LoginExchange, event: LogIn) -> None:
        step = exchange.start(event.command.initial)
        while isinstance(step, Challenge):
            self._say(step.octets)
            line = await self._next_line()
            if isinstance(line, LineFault):
                self._violated(line.value)
                self._act(self._dialogue.fault(line))
                return
            step = exchange.answer(line)
        if isinstance(step, NameAndSecret):
            ports = self._door.ports
            result = ports.logins.login(
                step.name, step.secret, self._peer, ports.clock.now()
            )
            if isinstance(result, Reply):
                self._door.counts.login_failures += 1
                _logger.warning("SMTP session %s: login refused", self.id)
                self._act(self._dialogue.login_refused(result))
            else:
                self._act(self._dialogue.logged_in(result))
        else:
            self._act(self._dialogue.login_malformed(step))

    # Messages.

    def _begin_message(self) -> Work | None:
        """Ask for a message, and take what is there of it."""
        self._say(answers.GO_AHEAD)
        self._deadline = self._loop.time() + self._settings.data_timeout_s
        self._is_in_step = False
        ports = self._door.ports
        self._gathering = Gathering(self._settings, ports.budget, ports.spools)
        octets = self._lines.take_rest()
        return self._gather(self._gathering, octets) if octets else None

    def _gather(self, gathering: Gathering, octets: bytes) -> Work | None:
        taken = gathering.take_at_once(octets)
        if taken is Wants.OCTETS:
            return None
        if taken is Wants.ROOM:
            self._inflow.put_back(octets)
            return TakeMessage(gathering)
        return TakeMessage(gathering, taken)

    async def _take_message(self, work: TakeMessage) -> None:
        gathering = work.gathering
        try:
            end = work.end or await self._read_message(gathering)
            # What we do with it is our time, not the peer's.
            self._deadline = None
            if not end.must_close:
                self._lines.feed(end.rest)
                self._is_in_step = True
            outcome = end.outcome
            if isinstance(outcome, Content):
                # No earlier reply waits for this message, or is lost if it ends
                # without one.
                await self._flush()
                outcome = await gathering.complete(outcome)
            reply = (
                outcome if isinstance(outcome, Reply) else await self._accept(outcome)
            )
        except PatienceOverError as error:
            # Whether it is stored cannot be told: to answer would be to lie.
            raise PeerGoneError from error
        finally:
            self._forget_message()
            self._dialogue.reset()
        if reply.is_success:
            self._door.counts.accepted += 1
        else:
            self._door.counts.refused += 1
        self._act(self._dialogue.message_ended(reply))
        if end.must_close:
            self._violated(reply.text)
            self._is_over = True

    async def _read_message(self, gathering: Gathering) -> ContentEnd:
        """Read on to the end of a message that is large, or waits for memory."""
        deadline = self._deadline
        if deadline is None:
            raise RuntimeError("no message is awaited")
        while True:
            octets = await self._read_until(gathering.due_at)
            # What memory and disk take is our time, not the peer's.
            self._deadline = None
            begun = self._loop.time()
            end = await gathering.take(octets)
            if end is not None:
                return end
            deadline += self._loop.time() - begun
            self._deadline = deadline

    def _forget_message(self) -> None:
        if self._gathering is not None:
            self._gathering.release()
            self._gathering = None

    async def _read_until(self, due_at: float | None) -> bytes:
        """Return what has come; nothing, if nothing comes until ``due_at``."""
        if due_at is None:
            return await self._read()
        try:
            async with asyncio.timeout_at(due_at):
                return await self._read()
        except TimeoutError:
            return b""

    async def _accept(self, content: Content) -> Reply:
        """Return the answer to the dot; 2xx only when the message is durable."""
        submission = await self._admit(content)
        if isinstance(submission, Reply):
            return submission
        try:
            accepted = await self._door.ports.intake.accept(submission)
        except NotAcceptedError as error:
            return error.reply
        text = f"accepted as {accepted.message}"
        return local_reply(250, "2.0.0", text, Phase.DOT)

    async def _admit(self, content: Content) -> Submission | Reply:
        dialogue = self._dialogue
        credential = dialogue.credential
        if credential is None:
            raise RuntimeError("a transaction without a credential")
        self._messages += 1
        number = f"{self.id}.{self._messages}"
        now = self._door.ports.clock.now()
        envelope = dialogue.envelope()
        trace = received_field(
            ehlo_name=dialogue.ehlo_name,
            peer=self._peer,
            hostname=self._settings.hostname,
            protocol=protocol_name(
                is_extended=dialogue.is_extended,
                has_utf8=envelope.has_utf8,
                is_secure=dialogue.is_secure,
                is_authenticated=dialogue.is_authenticated,
            ),
            session_id=number,
            now=now,
        )
        offer = Offer(credential, envelope, content.header, content.body, (trace,))

        def admit() -> Submission | Reply:
            admission = self._door.ports.admission
            return admission.admit(offer, now=now, fresh_id=lambda: number)

        if len(content.body) > INLINE_BODY_OCTETS:
            return await asyncio.to_thread(admit)
        return admit()

    # Ending.

    def _violated(self, what: str) -> None:
        self._door.counts.violations += 1
        _logger.warning("SMTP session %s with %s: %s", self.id, self._peer, what)

    def _watch(self) -> None:
        """Look whether the deadline has passed; look again later."""
        now = self._loop.time()
        if self._writer.transport.is_closing():
            self._writer.transport.abort()
            return
        if self._deadline is None:
            interval_s = self._settings.command_timeout_s / 10
        elif now < self._deadline:
            interval_s = min(self._deadline - now, self._settings.command_timeout_s)
        else:
            self._door.counts.timeouts += 1
            self._writer.write(answers.IDLE)
            self._writer.close()
            interval_s = self._settings.linger_s
        self._timer = self._loop.call_later(interval_s, self._watch)

    def _close(self) -> None:
        self._lines.take_rest()
        self._forget_message()
        self._inflow.drop()
        transport = self._writer.transport
        if self._timer is not None:
            self._timer.cancel()
        transport.close()
        if transport.get_write_buffer_size():
            # A peer that reads nothing must not keep the connection for ever.
            self._timer = self._loop.call_later(
                self._settings.linger_s, transport.abort
            )
