"""The server's side of an SMTP session as a pure machine: lines in, events out.

Promises: no message is read without a MAIL and a RCPT accepted for it, in this order and
by someone who may submit; whatever ends a transaction (its outcome, RSET, EHLO, TLS)
forgets its envelope; what was said before TLS is forgotten; every count has a limit. Never
does I/O, never waits, never reads a clock, never raises on what a peer sends.

Theory of operation: :class:`State` says how far the client is, ``_FITS`` in which states a
command may come, and only this file assigns the state. The driver acts on the
:data:`Event` that :meth:`Dialogue.receive` returns and reports back what came of it
(:meth:`~Dialogue.secured`, :meth:`~Dialogue.logged_in`, :meth:`~Dialogue.login_refused`,
:meth:`~Dialogue.message_ended`).

Standards: RFC 5321 §3, §4.1.4 (order), §4.2 (codes); RFC 3207 §4.2; RFC 4954 §4; RFC 6409
(submission).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mailwright.accounts.directory import Credential, Scope
from mailwright.envelope import Envelope, Recipient
from mailwright.mta.smtp.commands import (
    Auth,
    Command,
    Data,
    Expand,
    Foreign,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    parse_command,
)
from mailwright.mta.smtp.framing import LineFault
from mailwright.mta.submission import answers
from mailwright.mta.submission.settings import DoorSettings
from mailwright.reply import Phase, Reply, local_reply


class State(Enum):
    """How far the client is."""

    CONNECTED = "connected"  # has not said who it is
    GREETED = "greeted"  # EHLO or HELO was answered; no transaction is open
    SENDER_GIVEN = "sender given"  # MAIL was accepted
    RECIPIENTS_GIVEN = "recipients given"  # so was at least one RCPT
    READING = "reading"  # 354 was given; what comes is no command
    CLOSED = "closed"  # nothing more is answered


_ALWAYS: Final = (
    State.CONNECTED,
    State.GREETED,
    State.SENDER_GIVEN,
    State.RECIPIENTS_GIVEN,
)
# In tuples a state is found by identity; a set would ask for its hash, which is Python.
_FITS: Final[Mapping[type[Command], tuple[State, ...]]] = {
    Hello: _ALWAYS,
    StartTls: (State.GREETED,),
    Auth: (State.GREETED,),
    Mail: (State.GREETED,),
    Rcpt: (State.SENDER_GIVEN, State.RECIPIENTS_GIVEN),
    Data: (State.RECIPIENTS_GIVEN,),
    Reset: _ALWAYS,
    Noop: _ALWAYS,
    Quit: _ALWAYS,
    Verify: _ALWAYS,
    Expand: _ALWAYS,
    Help: _ALWAYS,
    Foreign: _ALWAYS,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Say ``octets`` and go on."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Say ``octets`` and close."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class BeginTls:
    """Start TLS, unless anything came behind the command."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Run the exchange that ``command`` begins."""

    command: Auth


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """Say 354 and read up to the final dot."""


Event = Answer | HangUp | BeginTls | LogIn | ReadMessage


class Dialogue:
    """One connection's session.

    Attributes:
        state: how far the client is.
        is_secure: the connection is encrypted.
        is_authenticated: the credential was proven by AUTH, not by the network.
        ehlo_name: what the client calls itself, or ``""``.
    """

    __slots__ = (
        "_commands",
        "_credential",
        "_errors",
        "_is_extended",
        "_is_stopping",
        "_login_failures",
        "_mail",
        "_network_credential",
        "_recipients",
        "_settings",
        "ehlo_name",
        "is_authenticated",
        "is_secure",
        "state",
    )

    def __init__(
        self, settings: DoorSettings, network_credential: Credential | None
    ) -> None:
        """Begin; ``network_credential`` is what the peer's network may act as."""
        self._settings = settings
        self._network_credential = network_credential
        self._commands = 0
        self._errors = 0
        self._login_failures = 0
        self._is_stopping = False
        self.is_secure = False
        self.state = State.CONNECTED
        self.ehlo_name = ""
        self._is_extended = False
        self._credential = network_credential
        self.is_authenticated = False
        self._mail: Mail | None = None
        self._recipients: dict[str, Recipient] = {}

    @property
    def credential(self) -> Credential | None:
        """As whom the client submits."""
        return self._credential

    @property
    def is_extended(self) -> bool:
        """Whether the client said EHLO."""
        return self._is_extended

    @property
    def has_transaction(self) -> bool:
        """Whether a MAIL was accepted whose outcome is still open."""
        return self._mail is not None

    @property
    def should_leave(self) -> bool:
        """Whether the node is stopping and nothing is under way here."""
        return self._is_stopping and self._mail is None

    def envelope(self) -> Envelope:
        """Return the envelope of the message that is being read.

        Raises:
            ValueError: none is.
        """
        mail = self._mail
        if mail is None or not self._recipients:
            raise ValueError("no transaction is open")
        return Envelope(
            mail.reverse_path,
            tuple(self._recipients.values()),
            ret=mail.ret,
            envid=mail.envid,
            has_8bit=mail.has_8bit,
            has_utf8=mail.has_utf8,
        )

    def receive(self, line: bytes) -> Event:
        """Take one command line without its CRLF."""
        self._commands += 1
        if self._commands > self._settings.max_commands:
            return self._hang_up(answers.TOO_MANY_COMMANDS)
        command = parse_command(line, is_extended=self._is_extended)
        if isinstance(command, Reply):
            return self._refuse(command)
        if self.state not in _FITS[type(command)]:
            return self._answer(answers.OUT_OF_ORDER)
        return self._obey(command)

    def _obey(self, command: Command) -> Event:
        event: Event
        match command:
            case Rcpt():
                event = self._on_rcpt(command)
            case Mail():
                event = self._on_mail(command)
            case Data():
                self.state = State.READING
                event = _READ_MESSAGE
            case Hello():
                event = self._on_hello(command)
            case Auth():
                event = self._on_auth(command)
            case StartTls():
                event = self._on_start_tls()
            case Reset():
                self.reset()
                event = _RESET
            case Quit():
                event = self._hang_up(answers.BYE)
            case Foreign():
                event = self._hang_up(answers.NOT_SMTP)
            case Expand():
                event = self._answer(answers.NO_EXPN)
            case Noop() | Verify() | Help():
                event = _SIMPLE[type(command)]
        return event

    def fault(self, fault: LineFault) -> HangUp:
        """End it: the stream has no command lines any more."""
        return self._hang_up(
            answers.to_wire(local_reply(500, "5.5.2", fault.value, Phase.EHLO))
        )

    def secured(self) -> None:
        """Go on under TLS: nothing that was said before counts (RFC 3207 §4.2)."""
        self.is_secure = True
        self.state = State.CONNECTED
        self.ehlo_name = ""
        self._is_extended = False
        self._credential = self._network_credential
        self.is_authenticated = False
        self.reset()

    def logged_in(self, credential: Credential) -> Answer:
        """Act as ``credential`` from now on."""
        self._credential = credential
        self.is_authenticated = True
        return _LOGGED_IN

    def login_refused(self, reply: Reply) -> Answer | HangUp:
        """Count a wrong name or secret; the last one allowed closes."""
        self._login_failures += 1
        if self._login_failures >= self._settings.max_login_failures:
            return self._hang_up(answers.to_wire(reply) + answers.TOO_MANY_LOGINS)
        return Answer(answers.to_wire(reply))

    def login_malformed(self, reply: Reply) -> Answer | HangUp:
        """Answer an exchange that ended without a claim."""
        return self._answer(reply)

    def message_ended(self, reply: Reply) -> Answer | HangUp:
        """Answer the final dot; the envelope is gone, whatever the outcome."""
        self.reset()
        if reply.is_success:
            self._errors = 0
            self._commands = 0
            answer: Answer | HangUp = Answer(answers.to_wire(reply))
        else:
            answer = self._answer(reply)
        if self._is_stopping and isinstance(answer, Answer):
            return self._hang_up(answer.octets + answers.STOPPING)
        return answer

    def reset(self) -> None:
        """Forget the envelope (RFC 5321 §4.1.1.5)."""
        self._mail = None
        self._recipients = {}
        if self.state not in (State.CONNECTED, State.CLOSED):
            self.state = State.GREETED

    def stop(self) -> None:
        """Begin nothing new: the node is stopping."""
        self._is_stopping = True

    def _on_hello(self, command: Hello) -> Event:
        self.reset()
        self.state = State.GREETED
        self.ehlo_name = command.name
        self._is_extended = command.is_extended
        if not command.is_extended:
            return Answer(answers.helo_answer(self._settings.hostname))
        return Answer(answers.ehlo_answer(self._settings, is_secure=self.is_secure))

    def _on_start_tls(self) -> Event:
        if self._settings.tls is None or self.is_secure:
            return self._answer(answers.NO_TLS)
        return _BEGIN_TLS

    def _on_auth(self, command: Auth) -> Event:
        if self.is_authenticated:
            return self._answer(answers.LOGGED_IN_ALREADY)
        if not self._settings.offers_auth(is_secure=self.is_secure):
            can = self._settings.can_authenticate
            return self._answer(answers.AUTH_NEEDS_TLS if can else answers.NO_AUTH)
        return LogIn(command)

    def _may_not_submit(self) -> Reply | None:
        if self._credential is None:
            if self._settings.offers_auth(is_secure=self.is_secure):
                return answers.AUTH_FIRST
            return (
                answers.TLS_FIRST
                if self._settings.can_authenticate
                else answers.NOT_OPEN
            )
        if Scope.SEND not in self._credential.scopes:
            return answers.NO_SCOPE
        return None

    def _on_mail(self, command: Mail) -> Event:
        refusal = self._may_not_submit()
        if refusal is not None:
            return self._answer(refusal)
        if self._is_stopping:
            return self._hang_up(answers.STOPPING)
        if (
            command.size is not None
            and command.size > self._settings.max_message_octets
        ):
            return self._answer(answers.TOO_BIG)
        self._mail = command
        self.state = State.SENDER_GIVEN
        return _SENDER_OK

    def _on_rcpt(self, command: Rcpt) -> Event:
        assert self._mail is not None, "_FITS lets RCPT come only after MAIL"  # noqa: S101
        if command.needs_utf8 and not self._mail.has_utf8:
            return Answer(answers.NEEDS_UTF8)
        canonical = command.recipient.address.canonical
        if canonical not in self._recipients:
            if len(self._recipients) >= self._settings.max_recipients:
                return Answer(answers.TOO_MANY_RECIPIENTS)
            # A mailbox that is named twice gets one copy, by what was said first.
            self._recipients[canonical] = command.recipient
        self.state = State.RECIPIENTS_GIVEN
        return _RECIPIENT_OK

    def _refuse(self, reply: Reply) -> Event:
        """Answer a line that is no command, if it came at the right time."""
        if reply.phase is Phase.MAIL and self.state is State.GREETED:
            return self._answer(self._may_not_submit() or reply)
        if reply.phase is Phase.RCPT and self.state in _FITS[Rcpt]:
            # A list may hold many wrong addresses; who may submit is only bound by the
            # number of commands.
            return Answer(answers.to_wire(reply))
        if reply.phase in {Phase.MAIL, Phase.RCPT}:
            return self._answer(answers.OUT_OF_ORDER)
        return self._answer(reply)

    def _answer(self, reply: Reply) -> Answer | HangUp:
        if reply.is_permanent:
            self._errors += 1
            if self._errors >= self._settings.max_errors:
                return self._hang_up(answers.to_wire(reply) + answers.TOO_MANY_ERRORS)
        return Answer(answers.to_wire(reply))

    def _hang_up(self, octets: bytes) -> HangUp:
        self.state = State.CLOSED
        self._mail = None
        self._recipients = {}
        return HangUp(octets)


_READ_MESSAGE: Final = ReadMessage()
_BEGIN_TLS: Final = BeginTls()
_SENDER_OK: Final = Answer(b"250 2.1.0 sender ok\r\n")
_RECIPIENT_OK: Final = Answer(b"250 2.1.5 recipient ok\r\n")
_RESET: Final = Answer(b"250 2.0.0 reset\r\n")
_LOGGED_IN: Final = Answer(b"235 2.7.0 authenticated\r\n")
_SIMPLE: Final[Mapping[type[Noop | Verify | Help], Answer]] = {
    Noop: Answer(b"250 2.0.0 ok\r\n"),
    Verify: Answer(b"252 2.1.5 not verified; mail to it is tried\r\n"),
    Help: Answer(b"214 2.0.0 see RFC 5321 and RFC 6409\r\n"),
}
