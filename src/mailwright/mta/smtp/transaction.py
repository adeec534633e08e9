"""One mail transaction of ours, and its commands as octets.

One recipient each: receivers that refuse after DATA would fail all recipients of a
transaction for one of them, and every delivery has its own return path and fields.

Standards: RFC 5321 §4.1.1.2–3, RFC 1870 §6 (SIZE=), RFC 6152 §2 (BODY=), RFC 6531 §3.4
(SMTPUTF8), RFC 3461 §4 (NOTIFY, ORCPT, RET, ENVID; xtext).
"""

import re
from dataclasses import dataclass
from typing import Final

from mailwright.errors import LocalProtocolError
from mailwright.mta.smtp.extensions import Extensions
from mailwright.reply import Phase, Reply, local_reply

#: No control character may stand in a command: a CRLF would be a second command.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What xtext writes as +XX (RFC 3461 §4): all but "!"–"~" less "+" and "=".
_NOT_XTEXT: Final = re.compile(r"[^!-*,-<>-~]")
_NOTIFY: Final = re.compile(
    r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*"
)
_RET: Final = frozenset({"FULL", "HDRS"})
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]+")
#: RFC 3461 §5.4 and §5.2: longer values are not passed on.
_MAX_ENVID: Final = 100
_MAX_ORCPT: Final = 500


@dataclass(frozen=True, slots=True)
class Transaction:
    """A message to one recipient, ready for the wire.

    Attributes:
        key: the caller's; comes back with the end.
        reverse_path: canonical, without angle brackets; ``""`` is the null path.
        recipient: canonical, without angle brackets.
        wire: dot-stuffed content with its final dot.
        size: octets of the content before stuffing (RFC 1870 §5).
        notify: RFC 3461 keywords joined by commas, or ``""``; so for the others.
        orcpt: ``addr-type;address``, not encoded.
        envid: not encoded.
    """

    key: object
    reverse_path: str
    recipient: str
    wire: bytes
    size: int
    has_8bit: bool = False
    notify: str = ""
    orcpt: str = ""
    ret: str = ""
    envid: str = ""

    @property
    def needs_utf8(self) -> bool:
        """Whether an address can only be said with SMTPUTF8 (RFC 6531 §3.4)."""
        return not (self.recipient.isascii() and self.reverse_path.isascii())

    def check(self) -> None:
        """Check what must hold before anything of it is sent.

        Raises:
            LocalProtocolError: a control character in an address, or no recipient.
        """
        if not self.recipient or _CONTROLS.search(self.recipient):
            raise LocalProtocolError("recipient is not fit for a command")
        if _CONTROLS.search(self.reverse_path):
            raise LocalProtocolError("reverse-path is not fit for a command")

    def misfit(self, offered: Extensions) -> Reply | None:
        """Return why this server cannot be given it, without asking the server.

        A server that names its SIZE would say the same 552, one transfer later.
        """
        if offered.size and self.size > offered.size:
            return local_reply(
                552, "5.3.4", "message too big for the receiver", Phase.MAIL
            )
        if self.needs_utf8 and not offered.has_smtputf8:
            return local_reply(
                550, "5.6.7", "receiver does not offer SMTPUTF8", Phase.MAIL
            )
        return None

    def mail_command(self, offered: Extensions) -> bytes:
        """Return the MAIL line with the parameters that ``offered`` allows."""
        line = f"MAIL FROM:<{self.reverse_path}>"
        if offered.has_size:
            line += f" SIZE={self.size}"
        if self.has_8bit and offered.has_8bitmime:
            line += " BODY=8BITMIME"
        if self.needs_utf8:
            line += " SMTPUTF8"
        if offered.has_dsn and (self.ret or self.envid):
            if self.ret in _RET:
                line += f" RET={self.ret}"
            if self.envid and len(envid := xtext(self.envid)) <= _MAX_ENVID:
                line += f" ENVID={envid}"
        return line.encode() + b"\r\n"

    def rcpt_command(self, offered: Extensions) -> bytes:
        """Return the RCPT line with the parameters that ``offered`` allows."""
        line = f"RCPT TO:<{self.recipient}>"
        if offered.has_dsn and (self.notify or self.orcpt):
            if _NOTIFY.fullmatch(self.notify):
                line += f" NOTIFY={self.notify}"
            kind, _, address = self.orcpt.partition(";")
            # An address beyond ASCII needs RFC 6533's own encodings; it is left out.
            if address and address.isascii() and _ADDRESS_TYPE.fullmatch(kind):
                orcpt = f"{kind};{xtext(address)}"
                if len(orcpt) <= _MAX_ORCPT:
                    line += f" ORCPT={orcpt}"
        return line.encode() + b"\r\n"


def xtext(text: str) -> str:
    """Return ``text`` (ASCII) with RFC 3461 §4's encoding; others become ``?``."""
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    return _NOT_XTEXT.sub(lambda match: f"+{ord(match[0]):02X}", ascii_text)
