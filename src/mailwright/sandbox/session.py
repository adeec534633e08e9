"""One connection of a receiver.

Strict where a sender must be right: CRLF and nothing else ends a line, nothing follows
STARTTLS in its packet, an address beyond ASCII needs SMTPUTF8. What a sender does wrong
is counted in the host's tally.

Octets are buffered and taken line by line, or up to the final dot; the replies of one
turn leave in one write. A delay, a TLS handshake and a full inbox stop the turn; it goes
on when they are over.

A little long, as each verb of a transaction is some lines on the state of one session.

Standards: RFC 5321, 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8),
2034 (ENHANCEDSTATUSCODES), 3461 (DSN), 3207 (STARTTLS).
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from typing_extensions import override

from mailwright.reply import Phase
from mailwright.sandbox import commands
from mailwright.sandbox.behaviour import (
    Loss,
    Moment,
    Refusal,
    TlsOffer,
    Visit,
)
from mailwright.sandbox.host import Host
from mailwright.sandbox.inbox import letter_of

MAX_RECIPIENTS: Final = 100
#: A sender that is not answered yet may have sent this much ahead.
MAX_AHEAD_OCTETS: Final = 2 * commands.MAX_MESSAGE_OCTETS
#: l_onoff = 1, l_linger = 0: close sends RST.
_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Transaction:
    mail: commands.Mail
    recipients: list[str] = field(default_factory=list)
    refusal: Refusal | None = None  # after the dot
    loss: Loss | None = None


class Session(asyncio.Protocol):
    """The protocol of one connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._tally = host.tally
        behaviour = host.behaviour()
        self._delay_s = behaviour.reply_delay_s
        self._banner_delay_s = behaviour.banner_delay_s
        self._trickle_s = behaviour.trickle_s
        self._tls_offer = behaviour.tls
        self._is_slow = self._delay_s > 0 or self._trickle_s > 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._source = ""
        self._buffer = bytearray()
        self._at = 0  # of the next line in the buffer
        self._scanned = 0  # no end of the content before this
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False  # for a timer, a handshake or the inbox
        self._is_tls = False
        self._is_greeted = False
        self._is_in_data = False
        self._transaction: _Transaction | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._source = str(transport.get_extra_info("peername")[0])
        self._host.sessions.add(self)
        self._tally.connections += 1
        self._tally.open += 1
        banner = f"220 {self._host.name} ESMTP\r\n".encode()
        if self._banner_delay_s or self._is_slow:
            self._hold(banner, self._banner_delay_s or self._delay_s)
        else:
            self._transport.write(banner)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_waiting:
            self._work()
        elif len(self._buffer) > MAX_AHEAD_OCTETS:
            self.cut()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self._tally.open -= 1
        self._host.sessions.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def cut(self) -> None:
        """End the connection without another word."""
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        """Answer all that is there, until something has to be waited for."""
        while self._transport is not None and not self._is_waiting:
            if not (self._take_content() if self._is_in_data else self._take_line()):
                break
        if self._at:
            del self._buffer[: self._at]
            self._scanned -= self._at
            self._at = 0
        self._flush()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            if len(self._buffer) - self._at > commands.MAX_LINE_OCTETS:
                self._quarrel("long line", commands.LINE_TOO_LONG)
            elif b"\n" in self._buffer[self._at :]:
                self._quarrel("line end", commands.BAD_LINE_END)
            return False
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self._quarrel("line end", commands.BAD_LINE_END)
            return False
        verb = line[:4].upper()
        command = _COMMANDS.get(verb)
        if command is None or (len(line) > 4 and line[4:5] not in b" T"):
            self._say(commands.UNKNOWN)
        else:
            command(self, line)
        return True

    def _take_content(self) -> bool:
        transaction = self._transaction
        if transaction is None:
            return False
        loss = transaction.loss
        if (
            loss is not None
            and loss.moment is Moment.DATA
            and len(self._buffer) > self._at
        ):
            self._lose(loss)
            return False
        if self._buffer.startswith(b".\r\n", self._at):
            content, after = b"", self._at + 3
        else:
            end = self._buffer.find(b"\r\n.\r\n", max(self._at, self._scanned - 4))
            if end < 0:
                self._scanned = len(self._buffer)
                if self._scanned - self._at > MAX_AHEAD_OCTETS:
                    self.cut()
                return False
            content, after = bytes(self._buffer[self._at : end + 2]), end + 5
        self._at = self._scanned = after
        self._is_in_data = False
        self._transaction = None
        self._end_of_data(transaction, content)
        return True

    def _end_of_data(self, transaction: _Transaction, content: bytes) -> None:
        if commands.has_bare_line_end(content):
            self._quarrel("line end", commands.BAD_LINE_END)
        elif b"\0" in content:
            self._quarrel("NUL", commands.BAD_LINE_END)
        elif len(content) > commands.MAX_MESSAGE_OCTETS:
            self._say(commands.TOO_BIG)
        elif (loss := transaction.loss) is not None:
            if loss.moment is Moment.TAKEN:
                self._take(transaction, content)
            self._lose(loss)
        elif (refusal := transaction.refusal) is not None:
            self._tally.refused[refusal.code] += len(transaction.recipients)
            self._say(refusal.to_wire())
        else:
            self._take(transaction, content)
            self._say(commands.OK)

    def _take(self, transaction: _Transaction, content: bytes) -> None:
        # A dot that begins a line was doubled by the sender (RFC 5321 §4.5.2).
        content = content.replace(b"\r\n.", b"\r\n").removeprefix(b".")
        letter = letter_of(
            content,
            recipients=tuple(transaction.recipients),
            reverse_path=transaction.mail.reverse_path,
            source=self._source,
            is_tls=self._is_tls,
            is_8bit_declared=transaction.mail.is_8bit,
        )
        if letter.is_undeclared_8bit:
            self._tally.violations["8-bit"] += 1
        inbox = self._host.inbox
        inbox.take(letter, content)
        if inbox.is_full and self._transport is not None:
            self._is_waiting = True
            self._transport.pause_reading()
            inbox.when_free(self._resume_reading)

    def _resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
            self._go_on()

    def _ehlo(self, line: bytes) -> None:
        del line
        self._is_greeted = True
        self._transaction = None
        offers_tls = self._tls_offer is not TlsOffer.NONE and not self._is_tls
        self._say(commands.ehlo_reply(self._host.name, offers_tls=offers_tls))

    def _helo(self, line: bytes) -> None:
        del line
        self._is_greeted = True
        self._transaction = None
        self._say(f"250 {self._host.name}\r\n".encode())

    def _mail(self, line: bytes) -> None:
        mail = commands.parse_mail(line)
        if isinstance(mail, bytes):
            self._say(mail)
        elif not self._is_greeted or self._transaction is not None:
            self._say(commands.BAD_SEQUENCE)
        else:
            self._transaction = _Transaction(mail)
            self._say(commands.MAIL_OK)

    def _rcpt(self, line: bytes) -> None:
        transaction = self._transaction
        if transaction is None:
            return self._say(commands.BAD_SEQUENCE)
        rcpt = commands.parse_rcpt(line, is_utf8=transaction.mail.is_utf8)
        if isinstance(rcpt, bytes):
            return self._say(rcpt)
        if len(transaction.recipients) >= MAX_RECIPIENTS:
            return self._say(commands.TOO_MANY)
        return self._offered(transaction, rcpt)

    def _offered(self, transaction: _Transaction, rcpt: commands.Rcpt) -> None:
        self._tally.offered += 1
        visit = Visit(
            self._source, transaction.mail.reverse_path, rcpt.local_part, rcpt.domain
        )
        fate = self._host.conduct.decide(visit, self._host.clock.steady())
        match fate:
            case Refusal(phase=Phase.RCPT):
                self._tally.refused[fate.code] += 1
                return self._say(fate.to_wire())
            case Loss(moment=Moment.RCPT):
                return self._lose(fate)
            case Refusal():
                transaction.refusal = fate
            case Loss():
                transaction.loss = fate
            case None:
                pass
        transaction.recipients.append(f"{rcpt.local_part}@{rcpt.domain}")
        return self._say(commands.RCPT_OK)

    def _data(self, line: bytes) -> None:
        transaction = self._transaction
        if len(line) != 4:
            self._say(commands.SYNTAX)
        elif transaction is None:
            self._say(commands.BAD_SEQUENCE)
        elif not transaction.recipients:
            self._say(commands.NO_RECIPIENTS)
        else:
            self._is_in_data = True
            self._scanned = self._at
            self._say(commands.GO_AHEAD)

    def _rset(self, line: bytes) -> None:
        del line
        self._transaction = None
        self._say(commands.OK)

    def _noop(self, line: bytes) -> None:
        del line
        self._say(commands.OK)

    def _quit(self, line: bytes) -> None:
        del line
        self._say_last(commands.BYE)

    def _starttls(self, line: bytes) -> None:
        if line.upper() != b"STARTTLS":
            self._say(commands.UNKNOWN)
        elif self._tls_offer is TlsOffer.NONE or self._is_tls:
            self._say(commands.NO_TLS)
        elif len(self._buffer) > self._at:
            # Whatever came in the packet of STARTTLS was sent in clear (RFC 3207 §4.2).
            self._quarrel("after STARTTLS", commands.BAD_SEQUENCE)
        elif self._tls_offer is TlsOffer.BROKEN:
            self._say_last(commands.READY_FOR_TLS + b"but there is none\r\n")
        else:
            self._out.append(commands.READY_FOR_TLS)
            self._flush()
            self._is_waiting = True
            self._host.tasks.create_task(self._upgrade(), name="sandbox TLS")

    async def _upgrade(self) -> None:
        plain = self._transport
        if plain is None:
            return
        try:
            secure = await self._loop.start_tls(
                plain,
                self,
                self._host.context,
                server_side=True,
                ssl_handshake_timeout=30,
            )
        except (OSError, ssl.SSLError):
            self._tally.violations["TLS handshake"] += 1
            plain.abort()
            # Amid a handshake nobody else tells us.
            self.connection_lost(None)
            return
        if secure is None or self._transport is None:
            return
        self._transport = secure
        self._tally.tls += 1
        self._is_tls = True
        self._is_greeted = False
        self._transaction = None
        self._go_on()

    def _say(self, reply: bytes) -> None:
        if self._is_slow:
            self._hold(reply, self._delay_s)
        else:
            self._out.append(reply)

    def _say_last(self, reply: bytes) -> None:
        self._out.append(reply)
        self._flush()
        if self._transport is not None:
            self._transport.close()
            self._is_waiting = True

    def _quarrel(self, violation: str, reply: bytes) -> None:
        self._tally.violations[violation] += 1
        self._say_last(reply)

    def _lose(self, loss: Loss) -> None:
        self._tally.lost += 1
        self._is_waiting = True
        self._flush()
        transport = self._transport
        if transport is None:
            return
        if loss.is_reset:
            peer: socket.socket = transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            transport.abort()
        else:
            transport.close()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _hold(self, reply: bytes, delay_s: float) -> None:
        """Send ``reply`` after a while, and go on only then."""
        self._is_waiting = True
        self._timer = self._loop.call_later(delay_s, self._release, reply)

    def _release(self, reply: bytes) -> None:
        if self._transport is None:
            return
        first = 1 if self._trickle_s else len(reply)
        self._transport.write(reply[:first])
        if len(reply) > first:
            self._timer = self._loop.call_later(
                self._trickle_s, self._release, reply[first:]
            )
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._is_waiting = False
        self._work()


_COMMANDS: Final[dict[bytes, Callable[[Session, bytes], None]]] = {
    b"EHLO": Session._ehlo,  # noqa: SLF001
    b"HELO": Session._helo,  # noqa: SLF001
    b"MAIL": Session._mail,  # noqa: SLF001
    b"RCPT": Session._rcpt,  # noqa: SLF001
    b"DATA": Session._data,  # noqa: SLF001
    b"RSET": Session._rset,  # noqa: SLF001
    b"NOOP": Session._noop,  # noqa: SLF001
    b"QUIT": Session._quit,  # noqa: SLF001
    b"STAR": Session._starttls,  # noqa: SLF001
}
