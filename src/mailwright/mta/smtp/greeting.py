"""The start of a session, from the banner to "ready for mail".

Theory of operation. One command is out at a time, and each reply leads to the next
command: banner, EHLO (HELO when the server knows no EHLO), STARTTLS when we want it and
it is offered, EHLO again inside TLS, AUTH when there is a login. The end is
``GREETED`` with the extensions, or ``REFUSED`` with the reply that says why; neither
is left again. Nothing that was learnt in clear survives the handshake.

Standards: RFC 5321 §3.1–3.2, §4.1.1.1; RFC 3207 §4.2 (STARTTLS); RFC 4954 §4 (AUTH),
RFC 4616 (PLAIN).
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final

from mailwright.errors import RemoteProtocolError
from mailwright.mta.smtp.extensions import (
    NO_EXTENSIONS,
    parse_extensions,
)
from mailwright.mta.smtp.replies import ServerReply, to_reply
from mailwright.reply import Phase, Reply, local_reply
from mailwright.site import TlsDemand


@dataclass(frozen=True, slots=True)
class Login:
    """What a smarthost wants to see. Goes out over verified TLS only."""

    user: str
    password: str = field(repr=False)


class Step(Enum):
    """What we wait for."""

    BANNER = "banner"  # the server speaks first
    EHLO = "EHLO"
    HELO = "HELO"  # EHLO was not understood
    STARTTLS = "STARTTLS"
    HANDSHAKE = "handshake"  # 220: not one more octet in clear, from neither side
    AUTH_PLAIN = "AUTH PLAIN"
    AUTH_LOGIN = "AUTH LOGIN"  # then the user name, then the password
    AUTH_USER = "user name"
    AUTH_PASSWORD = "password"  # noqa: S105 - the name of a step
    GREETED = "greeted"  # final: mail may go
    REFUSED = "refused"  # final: `refusal` says why


_NEXT: Final[Mapping[Step, frozenset[Step]]] = {
    Step.BANNER: frozenset({Step.EHLO, Step.REFUSED}),
    Step.EHLO: frozenset(
        {
            Step.HELO,
            Step.STARTTLS,
            Step.AUTH_PLAIN,
            Step.AUTH_LOGIN,
            Step.GREETED,
            Step.REFUSED,
        }
    ),
    Step.HELO: frozenset({Step.GREETED, Step.REFUSED}),
    Step.STARTTLS: frozenset({Step.HANDSHAKE, Step.GREETED, Step.REFUSED}),
    Step.HANDSHAKE: frozenset({Step.EHLO, Step.REFUSED}),
    Step.AUTH_PLAIN: frozenset({Step.GREETED, Step.REFUSED}),
    Step.AUTH_LOGIN: frozenset({Step.AUTH_USER, Step.REFUSED}),
    Step.AUTH_USER: frozenset({Step.AUTH_PASSWORD, Step.REFUSED}),
    Step.AUTH_PASSWORD: frozenset({Step.GREETED, Step.REFUSED}),
    Step.GREETED: frozenset(),
    Step.REFUSED: frozenset(),
}

_PHASES: Final[Mapping[Step, Phase]] = {
    Step.BANNER: Phase.BANNER,
    Step.EHLO: Phase.EHLO,
    Step.HELO: Phase.EHLO,
    Step.STARTTLS: Phase.TLS,
    Step.HANDSHAKE: Phase.TLS,
    Step.AUTH_PLAIN: Phase.AUTH,
    Step.AUTH_LOGIN: Phase.AUTH,
    Step.AUTH_USER: Phase.AUTH,
    Step.AUTH_PASSWORD: Phase.AUTH,
}


class Greeting:
    """Leads from the banner to ``GREETED`` or ``REFUSED``.

    Attributes:
        step: what is awaited; only this class moves it.
        extensions: of the last EHLO; valid when greeted.
        refusal: why not, when refused.
    """

    __slots__ = (
        "_demand",
        "_ehlo_name",
        "_handlers",
        "_has_verified_tls",
        "_login",
        "extensions",
        "has_tls",
        "refusal",
        "step",
    )

    def __init__(self, ehlo_name: str, demand: TlsDemand, login: Login | None) -> None:
        """Start at the banner; if ``demand`` forbids clear, end without TLS."""
        self.step = Step.BANNER
        self.extensions = NO_EXTENSIONS
        self.refusal: Reply | None = None
        self.has_tls = False
        self._has_verified_tls = False
        self._ehlo_name = ehlo_name
        self._demand = demand
        self._login = login

    @property
    def phase(self) -> Phase:
        """The phase of the reply that is awaited."""
        return _PHASES[self.step]

    def on_reply(self, said: ServerReply) -> bytes:
        """Take the awaited reply; return the next command, ``b""`` when there is none.

        Raises:
            RemoteProtocolError: a reply that the command cannot have.
        """
        if said.code == 421:  # RFC 5321 §3.8: the server leaves, whatever was asked
            return self._refuse(to_reply(said, self.phase))
        return self._HANDLERS[self.step](self, said)

    def on_tls(self, *, is_verified: bool) -> bytes:
        """Continue after the handshake; return EHLO (RFC 3207 §4.2)."""
        self.has_tls = True
        self._has_verified_tls = is_verified
        self.extensions = NO_EXTENSIONS
        return self._say_ehlo()

    def _move(self, step: Step) -> None:
        assert step in _NEXT[self.step], f"{self.step} does not lead to {step}"
        self.step = step

    def _refuse(self, reply: Reply) -> bytes:
        self.refusal = reply
        self._move(Step.REFUSED)
        return b""

    def _say_ehlo(self) -> bytes:
        self._move(Step.EHLO)
        return f"EHLO {self._ehlo_name}\r\n".encode("ascii")

    def _on_banner(self, said: ServerReply) -> bytes:
        if said.code_class != 2:
            return self._refuse_for(said)
        return self._say_ehlo()

    def _on_ehlo(self, said: ServerReply) -> bytes:
        if said.code_class == 2:
            self.extensions = parse_extensions(said.lines)
            return self._after_ehlo()
        if said.code_class == 5 and not self._demand.forbids_clear:
            # RFC 5321 §3.2: a server from before EHLO answers 500, 502 or the like; one
            # that refuses us says so again to HELO.
            self._move(Step.HELO)
            return f"HELO {self._ehlo_name}\r\n".encode("ascii")
        return self._refuse_for(said)

    def _on_helo(self, said: ServerReply) -> bytes:
        if said.code_class != 2:
            return self._refuse_for(said)
        return self._authenticate()

    def _after_ehlo(self) -> bytes:
        if not self.has_tls and self._demand is not TlsDemand.NONE:
            if self.extensions.has_starttls:
                self._move(Step.STARTTLS)
                return b"STARTTLS\r\n"
            if self._demand.forbids_clear:
                return self._refuse_tls("receiver does not offer STARTTLS")
        return self._authenticate()

    def _on_starttls(self, said: ServerReply) -> bytes:
        if said.code_class == 2:
            self._move(Step.HANDSHAKE)
            return b""
        if self._demand.forbids_clear or said.code_class == 3:
            return self._refuse_for(said)
        # RFC 3207 §4: it is for the client to decide; opportunistic goes on in clear.
        return self._authenticate()

    def _refuse_tls(self, text: str) -> bytes:
        return self._refuse(local_reply(451, "4.7.4", text, Phase.TLS))

    def _authenticate(self) -> bytes:
        login = self._login
        if login is None:
            self._move(Step.GREETED)
            return b""
        if not self._has_verified_tls:
            return self._refuse_auth("no verified TLS to send the password over")
        if "PLAIN" in self.extensions.auth:
            self._move(Step.AUTH_PLAIN)
            return b"AUTH PLAIN " + _base64(f"\0{login.user}\0{login.password}")
        if "LOGIN" in self.extensions.auth:
            self._move(Step.AUTH_LOGIN)
            return b"AUTH LOGIN\r\n"
        return self._refuse_auth("smarthost offers neither AUTH PLAIN nor LOGIN")

    def _refuse_auth(self, text: str) -> bytes:
        return self._refuse(local_reply(454, "4.7.0", text, Phase.AUTH))

    def _on_auth_login(self, said: ServerReply) -> bytes:
        assert self._login is not None
        return self._answer(said, Step.AUTH_USER, self._login.user)

    def _on_auth_user(self, said: ServerReply) -> bytes:
        assert self._login is not None
        return self._answer(said, Step.AUTH_PASSWORD, self._login.password)

    def _answer(self, said: ServerReply, step: Step, secret: str) -> bytes:
        if said.code_class == 2:
            raise RemoteProtocolError("AUTH ended early")
        if said.code_class != 3:
            return self._refuse_for(said)
        self._move(step)
        return _base64(secret)

    def _on_authenticated(self, said: ServerReply) -> bytes:
        if said.code_class != 2:
            return self._refuse_for(said)
        self._move(Step.GREETED)
        return b""

    def _refuse_for(self, said: ServerReply) -> bytes:
        if said.code_class in {2, 3}:
            raise RemoteProtocolError(f"{said.code} is no reply to {self.step.value}")
        return self._refuse(to_reply(said, self.phase))

    # Methods of the class: bound ones would keep each greeting until the next look for
    # garbage, and its connection with it.
    _HANDLERS: ClassVar[Mapping[Step, Callable[["Greeting", ServerReply], bytes]]] = {
        Step.BANNER: _on_banner,
        Step.EHLO: _on_ehlo,
        Step.HELO: _on_helo,
        Step.STARTTLS: _on_starttls,
        Step.AUTH_PLAIN: _on_authenticated,
        Step.AUTH_LOGIN: _on_auth_login,
        Step.AUTH_USER: _on_auth_user,
        Step.AUTH_PASSWORD: _on_authenticated,
    }


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode()) + b"\r\n"
