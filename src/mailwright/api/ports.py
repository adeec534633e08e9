"""What the API is given, and the values it shows; ``daemon/wiring.py`` plugs it in.

The records are what ``GET`` answers: their attributes are the members of the JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from prometheus_client.registry import Collector

from mailwright.accounts.changes import Authorship
from mailwright.accounts.directory import Credential, Directory
from mailwright.accounts.logins import Denied
from mailwright.accounts.proving import DomainReport
from mailwright.accounts.settings.administration import Administration
from mailwright.api.hold_view import HoldOut
from mailwright.bounce.suppressing import Suppressions
from mailwright.clock import Clock
from mailwright.events.types import EventType
from mailwright.ids import PublicId, TenantId
from mailwright.mta.admission import Offer, Refusal
from mailwright.mta.ports import Intake
from mailwright.queue.operations import Operations
from mailwright.queue.stopping import Stopping
from mailwright.reply import Reply
from mailwright.store.ports import UnitStore
from mailwright.submission import Submission


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a delivery.

    Attributes:
        number: from 1.
        event: what it came to: ``delivered``, ``deferred``, ``bounced``, ``expired``.
        reply: what was said, or ``None`` when the connection ended without a word.
        source: name of the sending address.
        hop: host name and address that was spoken to.
        tls: protocol version, or ``""`` for clear text.
        category: what the reply means.
    """

    number: int
    at: datetime
    event: EventType
    reply: Reply | None = None
    source: str = ""
    hop: str = ""
    tls: str = ""
    category: str = ""
    edits: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One delivery of a message.

    Attributes:
        state: queued, sending, delivered, bounced, expired, suppressed, cancelled.
        due_at: of the next attempt; ``None`` once it is final.
        waiting_for: why it has not left yet, for people; ``None`` when nothing is known
            to hold it.
        holds: that stop it, with their reasons, authors and ends.
    """

    id: str
    recipient: str
    state: str
    due_at: datetime | None = None
    expires_at: datetime | None = None
    finished_at: datetime | None = None
    waiting_for: str | None = None
    attempts: Sequence[AttemptRecord] = ()
    holds: Sequence[HoldOut] = ()


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message with all its deliveries.

    Attributes:
        message_id: value of the Message-ID field.
        edits: what intake changed.
    """

    id: str
    accepted_at: datetime
    from_domain: str
    message_id: str
    stream: str
    size_octets: int
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    edits: Sequence[str] = ()
    deliveries: Sequence[DeliveryRecord] = ()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened.

    Attributes:
        id: unique and stable.
        recipient: joined when read; ``None`` once the address is erased.
        data: what belongs to the type; ``text`` is what a receiver said.
        campaign: whose message it is, if it is one's.
        tags: of the campaign and of the message.
        metadata: of the campaign, the message and the recipient; the latter count.
    """

    id: str
    at: datetime
    type: EventType
    message: str
    delivery: str
    recipient: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    campaign: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order they happened.

    Attributes:
        next: the cursor for ``after`` of the next question; given at the end too.
        more: there may be more already, even after a page without any; else there is
            nothing more yet.
    """

    events: Sequence[EventRecord]
    next: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; every part that is given must hold.

    Attributes:
        types: empty means all of them.
        recipient: a canonical address.
    """

    types: AbstractSet[EventType] = frozenset()
    message: PublicId | None = None
    campaign: PublicId | None = None
    tag: str | None = None
    recipient: str | None = None


class Keys(Protocol):
    """Whose key is it? Guess limits come first. ``accounts.logins.Logins``."""

    def check_key(self, text: str, ip: str, now: float) -> Credential | Denied:
        """Return the credential of an API key; ``now`` is in steady seconds."""
        ...


class Gate(Protocol):
    """Whether an offer is taken. ``mta.admission.Admission``."""

    def judge(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Refusal:
        """Return the offer ready for storing, or why not. Called in threads too."""
        ...


class Reading(Protocol):
    """What there is to see. Every answer is of one tenant only."""

    async def message(self, tenant: TenantId, ident: PublicId) -> MessageRecord | None:
        """Return a message of ``tenant``; another tenant's is ``None``."""
        ...

    async def events(
        self, tenant: TenantId, wanted: EventFilter, *, after: str, limit: int
    ) -> EventPage:
        """Return up to ``limit`` events after a cursor (``""``: from the oldest kept).

        Raises:
            CursorError: ``after`` is no cursor that we gave out.
        """
        ...


class Budget(Protocol):
    """Octets of content in memory, for all doors. ``mta.submission.budget``."""

    async def acquire(self, octets: int, *, within_s: float) -> bool:
        """Take ``octets``, waiting for them; false when they did not come in time."""
        ...

    def release(self, octets: int) -> None:
        """Give back what was taken."""
        ...


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """How much the API takes before it refuses.

    Attributes:
        request_octets: of a request's body; a little over the largest message, since
            JSON carries attachments in base64 as the message does.
        recipients: of one message.
        read_s: for a request's body to arrive.
        budget_s: to wait for the memory to hold it.
        inline_octets: bodies above this, or with many addresses, are worked on in a
            thread.
    """

    request_octets: int = 27_000_000
    recipients: int = 1000
    read_s: float = 120.0
    budget_s: float = 5.0
    inline_octets: int = 32_768


class DomainChecks(Protocol):
    """Looks whether sending domains are proven. ``accounts.proving.Prover``."""

    async def check(self, domain: str | None = None) -> Sequence[DomainReport]:
        """Look now, at one domain or at all, and store what was found.

        Returns none when there is no such sending domain.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """Who said that the clock is right as it is, and what was held against it."""

    author: str
    reason: str
    at: datetime
    suspicion: str


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """What a node thinks of its clock.

    Attributes:
        suspicion: why it is not believed; null while it is.
        ahead_s: how far the system's clock is ahead of the node's, in seconds.
        settled: by whom last, since the node started; null: by nobody.
    """

    now: datetime
    suspicion: str | None
    ahead_s: float
    settled: Settled | None


class TimeDoor(Protocol):
    """The clock of a running node. ``daemon.timekeeping.Timekeeping``."""

    def state(self) -> ClockRecord:
        """Return what is thought of it."""
        ...

    async def settle(self, author: str, reason: str) -> ClockRecord:
        """Believe it as it is."""
        ...


@dataclass(frozen=True, slots=True)
class QueueDoor:
    """The queue of a running node, and the names of what is in it.

    Attributes:
        suspicion: returns why nothing expires, or ``""``.
    """

    operations: Operations
    directory: Callable[[], Directory]
    store: UnitStore
    clock: Clock
    suspicion: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class SuppressionDoor:
    """Who must not be mailed, and the names of tenants and streams."""

    suppressions: Suppressions
    directory: Callable[[], Directory]


@dataclass(frozen=True, slots=True)
class OperatorPorts:
    """Everything that the routes for operators work with.

    Attributes:
        queue: ``None`` while no node runs.
        time: likewise.
    """

    administration: Administration
    domains: DomainChecks
    stopping: Stopping
    suppressions: SuppressionDoor
    clock: Clock
    budget: Budget
    limits: Callable[[], ApiLimits] = ApiLimits
    queue: QueueDoor | None = None
    time: TimeDoor | None = None

    def by(self, author: str, reason: str) -> Authorship:
        """Return the authorship of a change that is made now."""
        return Authorship(author, reason, self.clock.now())


@dataclass(frozen=True, slots=True)
class MetricsDoor:
    """What Prometheus reads, and from where it may.

    Attributes:
        collector: takes the numbers as they are now; its ``collect`` is called in a
            thread.
        networks: clients in these need no key.
    """

    collector: Callable[[], Collector]
    networks: Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True, slots=True)
class ApiPorts:
    """Everything the API works with.

    Attributes:
        hostname: of the node, for the Received field.
        fresh_id: gives the left side of a Message-ID, never the same twice: ``atext``
            and dots only.
        limits: those in force now.
        unready: reasons not to send us work now; empty when there are none.
        notices: what else is unusual, though work is taken.
        operating: for the routes that take the scope ``operate``; without, there are
            none of them.
    """

    keys: Keys
    admission: Gate
    intake: Intake
    reading: Reading
    store: UnitStore
    budget: Budget
    clock: Clock
    hostname: str
    fresh_id: Callable[[], str]
    unready: Callable[[], Sequence[str]]
    metrics: MetricsDoor
    limits: Callable[[], ApiLimits] = ApiLimits
    operating: OperatorPorts | None = None
    notices: Callable[[], Sequence[str]] = tuple
