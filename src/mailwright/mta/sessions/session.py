"""What a courier needs of a session, however and wherever it is led."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mailwright.attempt import Attempt, Parcel
from mailwright.mta.connection import TICK_S
from mailwright.mta.smtp.client import Terms
from mailwright.reply import Reply

#: Is told how each attempt ended; must not raise or block.
OnAttempt: TypeAlias = Callable[[Attempt], None]


@dataclass(frozen=True, slots=True)
class Call:
    """Whom to open a session with.

    Attributes:
        host: as certificates name it.
        address: to connect to; an IP address.
        source: to connect from; ``""`` leaves it to the system.
        connect_s: seconds for TCP.
        tls_s: seconds for a handshake.
        tick_s: between two looks at a deadline.
    """

    host: str
    address: str
    port: int
    source: str
    terms: Terms
    connect_s: float
    tls_s: float
    tick_s: float = TICK_S

    @property
    def hop(self) -> str:
        """Host name and address, for people."""
        return f"{self.host} [{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsFailed:
    """STARTTLS or the handshake went wrong; nothing else is known to."""

    reply: Reply


class Session(Protocol):
    """A connection that is ready for mail, until it is closed."""

    @property
    def reply(self) -> Reply | None:
        """Why the session ended, when that was not our wish."""
        ...

    @property
    def in_hand(self) -> int:
        """Parcels that were offered and have not ended."""
        ...

    @property
    def remaining(self) -> int:
        """How many more may be offered."""
        ...

    def offer(self, parcels: Sequence[Parcel]) -> None:
        """Have ``parcels`` prepared and sent; each one's end is told once."""
        ...

    def quit(self) -> None:
        """Let what is in hand finish, then QUIT."""
        ...

    def recall(self, text: str) -> None:
        """Give back what is not on the wire; QUIT when the rest has ended."""
        ...

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds or the session has ended.

        It is evaluated after everything that happens in the session.
        """
        ...

    async def end(self) -> None:
        """Wait until the socket of a session that has ended is closed, a short time."""
        ...

    async def give_up(self, text: str) -> None:
        """Drop the connection; return when everything in hand has its end."""
        ...


class Sessions(Protocol):
    """Opens sessions."""

    async def open(
        self, call: Call, on_attempt: OnAttempt
    ) -> Session | Reply | TlsFailed:
        """Return a session that is ready for mail, or why there is none.

        Cancelling closes what is open. Raises only for bugs.
        """
        ...

    async def run(self) -> None:
        """Keep alive what sessions need until :meth:`stop`; it is gone on return."""
        ...

    def stop(self) -> None:
        """End what sessions need; call it when none is open any more."""
        ...
