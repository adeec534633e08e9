"""What the connections of one MX host share, and what happened at it."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mailwright.clock import Clock
from mailwright.sandbox.behaviour import Behaviour, Conduct
from mailwright.sandbox.inbox import Inbox


@dataclass(slots=True)
class Tally:
    """What happened at a receiver.

    Attributes:
        connections: ever accepted.
        open: now.
        tls: handshakes that succeeded.
        offered: recipients.
        refused: recipients by the code they got, at RCPT or after the dot.
        lost: connections lost on purpose.
        violations: of the protocol by the sender, by kind.
    """

    connections: int = 0
    open: int = 0
    tls: int = 0
    offered: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    violations: Counter[str] = field(default_factory=Counter)


class Session(Protocol):
    """An open connection."""

    def cut(self) -> None:
        """End it without another word."""
        ...


@dataclass(slots=True)
class Host:
    """What the connections of one MX host share.

    Attributes:
        name: said in the greeting.
        behaviour: returns the host's own: its delays and its TLS.
        conduct: decides about recipients; shared by all hosts.
        inbox: takes what is accepted; shared too.
        context: for STARTTLS.
        tasks: where TLS handshakes run.
        clock: times the greylist.
        sessions: the open ones.
    """

    name: str
    behaviour: Callable[[], Behaviour]
    conduct: Conduct
    inbox: Inbox
    context: ssl.SSLContext
    tasks: asyncio.TaskGroup
    clock: Clock
    tally: Tally = field(default_factory=Tally)
    sessions: set[Session] = field(default_factory=set)
