"""The receiving side of a domain, and how we may behave there."""

from dataclasses import dataclass
from enum import StrEnum


class Pipelining(StrEnum):
    """How far ahead of the replies a session writes (RFC 2920)."""

    NONE = "none"  # one command, one reply
    COMMANDS = "commands"  # MAIL, RCPT, DATA in one write
    TRANSACTIONS = "transactions"  # the next MAIL in the write of the final dot


class TlsDemand(StrEnum):
    """What a connection must have before mail goes over it."""

    NONE = "none"  # never try
    OPPORTUNISTIC = "opportunistic"  # if offered; once in clear when it fails
    ENCRYPTED = "encrypted"  # with any certificate, or the mail waits
    REQUIRED = "required"  # verified, or the mail waits

    @property
    def forbids_clear(self) -> bool:
        """Whether mail waits rather than going in clear."""
        return self in {TlsDemand.ENCRYPTED, TlsDemand.REQUIRED}


@dataclass(frozen=True, slots=True)
class Hop:
    """A host to connect to, by name or address literal."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one scope may take; what is not set is not limited there.

    Attributes:
        connections: open at once.
        throttles: rates, each spelled as ``config.units.format_rate`` does: ``"20/min"``.
    """

    connections: int | None = None
    throttles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """How a provider wants to be treated.

    Attributes:
        provider: its name, ``"default"`` for everyone else.
        connections: at most, per source and site; never more than the wider scopes allow.
        messages_per_connection: then the connection is closed and another opened.
        pipelining: what its servers cope with.
        tls: what we demand.
        retry: seconds between attempts; the last one repeats.
        throttles: rates, per source and site.
        per_source: limits of one source at all sites of the provider together.
        overall: limits of all our sources at all sites of the provider together.
    """

    provider: str
    connections: int
    messages_per_connection: int
    pipelining: Pipelining
    tls: TlsDemand
    retry: tuple[float, ...]
    throttles: tuple[str, ...] = ()
    per_source: Limits = Limits()
    overall: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Site:
    """Domains with the same MX hosts share one site.

    Attributes:
        key: canonical name of the set of hosts, with the provider where the hosts alone
            do not tell it; equal keys are one site.
        hops: in the order to try them; equal preference is in canonical order here and
            is shuffled by whoever connects.
        preferences: of each hop.
        login: for a smarthost: user name and the key ring's id of the password.
        until: steady seconds at which the answer is stale.
    """

    key: str
    hops: tuple[Hop, ...]
    preferences: tuple[int, ...]
    profile: Profile
    login: tuple[str, int] | None = None
    until: float = 0.0
