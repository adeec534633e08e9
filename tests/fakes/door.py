"""A submission door without sockets, and stand-ins for what is behind it."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import datetime
from io import BytesIO
from ipaddress import ip_address, ip_network
from typing import Any

from typing_extensions import override

from mailwright.accounts.directory import Credential, Scope
from mailwright.clock import ManualClock
from mailwright.envelope import Envelope
from mailwright.ids import CredentialId, PoolId, SendingDomainId, StreamId, TenantId
from mailwright.mta.admission import Offer
from mailwright.mta.ports import Guards
from mailwright.mta.submission.budget import ByteBudget
from mailwright.mta.submission.door import Door, DoorPorts
from mailwright.mta.submission.ports import PeerIp
from mailwright.mta.submission.server import SubmissionSession
from mailwright.mta.submission.settings import DoorSettings
from mailwright.mta.submission.spool import RawFile, Spools
from mailwright.reply import Phase, Reply, local_reply
from mailwright.submission import Accepted, Submission

CREDENTIAL = Credential(
    id=CredentialId(1),
    tenant=TenantId(1),
    name="crm",
    secret_hash=None,
    scopes=frozenset({Scope.SEND}),
    stream=StreamId(1),
)
SECRET = "mw_crm_right"
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class FakeLogins:
    """Knows one credential, by one secret."""

    def __init__(self, credential: Credential = CREDENTIAL) -> None:
        self.credential = credential
        self.attempts: list[tuple[str, str]] = []

    def login(
        self, name: str, secret: str, peer: PeerIp, now: datetime
    ) -> Credential | Reply:
        self.attempts.append((name, secret))
        if (name, secret) == (self.credential.name, SECRET):
            return self.credential
        return local_reply(535, "5.7.8", "wrong name or secret", Phase.AUTH)

    def for_network(self, name: str) -> Credential | None:
        return self.credential if name == self.credential.name else None


class FakeAdmission:
    """Takes everything as it is, or answers as ``verdict`` says."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.verdict: Callable[[Offer], Reply | None] = lambda _offer: None

    def admit(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Reply:
        self.offers.append(offer)
        refusal = self.verdict(offer)
        if refusal is not None:
            return refusal
        return Submission(
            tenant=offer.credential.tenant,
            credential=offer.credential.id,
            stream=offer.credential.stream,
            is_bulk=False,
            sending_domain=SendingDomainId(1),
            pool=PoolId(1),
            envelope=offer.envelope,
            header=b"".join(offer.trace) + offer.header,
            body=offer.body,
            message_id=f"<{fresh_id()}@example.com>",
            selector="s1",
            accepted_at=now,
        )


class FakeIntake:
    """Keeps what it accepted, after ``gate`` when there is one."""

    def __init__(self) -> None:
        self.accepted: list[Submission] = []
        self.begun = 0
        self.has_begun = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def accept(
        self, submission: Submission, guards: Guards | None = None
    ) -> Accepted:
        self.begun += 1
        self.has_begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.accepted.append(submission)
        return Accepted(f"msg_{len(self.accepted)}", ())

    @property
    def envelopes(self) -> list[Envelope]:
        return [submission.envelope for submission in self.accepted]


def make_spools(
    budget: ByteBudget,
    open_file: Callable[[], RawFile] = BytesIO,
    max_open: int = 1_000,
) -> Spools:
    """Return spools whose files are in memory that no budget counts."""
    return Spools(open_file, max_open=max_open, loading=ByteBudget(budget.total // 2))


def make_ports(
    budget_octets: int = 64_000_000,
    spools: Callable[[ByteBudget], Spools] = make_spools,
) -> DoorPorts:
    """Return ports with fakes behind them."""
    budget = ByteBudget(budget_octets)
    return DoorPorts(
        logins=FakeLogins(),
        admission=FakeAdmission(),
        intake=FakeIntake(),
        clock=ManualClock(),
        budget=budget,
        spools=spools(budget),
    )


def intake_of(ports: DoorPorts) -> FakeIntake:
    assert isinstance(ports.intake, FakeIntake)
    return ports.intake


def admission_of(ports: DoorPorts) -> FakeAdmission:
    assert isinstance(ports.admission, FakeAdmission)
    return ports.admission


def make_settings(**changes: Any) -> DoorSettings:
    """Return settings of a clear listener that takes AUTH and opens nothing."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "hostname": "mx.example.org",
        "allows_clear_auth": True,
    }
    return DoorSettings(**(values | changes))


def open_settings(**changes: Any) -> DoorSettings:
    """Return settings of a listener that is open to loopback, without AUTH."""
    values: dict[str, Any] = {
        "allows_clear_auth": False,
        "networks": LOOPBACK,
        "network_credential": "crm",
    }
    return make_settings(**(values | changes))


class MemoryTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.is_paused = False
        self._protocol = protocol
        self._is_closing = False

    @override
    def write(self, data: Any) -> None:
        assert not self._is_closing, "written after closing"
        self.written += data
        self.writes += 1

    @override
    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._protocol.connection_lost(None)

    @override
    def abort(self) -> None:
        self.close()

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def pause_reading(self) -> None:
        self.is_paused = True

    @override
    def resume_reading(self) -> None:
        self.is_paused = False

    @override
    def get_write_buffer_size(self) -> int:
        return 0


class MemoryPeer:
    """A client whose connection is in memory."""

    def __init__(
        self,
        settings: DoorSettings,
        ports: DoorPorts,
        tasks: asyncio.TaskGroup,
        peer: str = "127.0.0.1",
        session: type[SubmissionSession] = SubmissionSession,
    ) -> None:
        self.door = Door(settings, ports)
        self._tasks = tasks
        self.task: asyncio.Task[None] | None = None
        self.session = session(self.door, ip_address(peer))
        self.transport = MemoryTransport(self.session)

    @property
    def is_closed(self) -> bool:
        return self.transport.is_closing()

    async def connect(self) -> bytes:
        """Return the greeting."""
        self.session.connection_made(self.transport)
        self.task = self._tasks.create_task(self.session.conversation.run())
        return await self.quiet()

    async def send(self, octets: bytes) -> bytes:
        """Return everything that is said to ``octets``."""
        if not self.is_closed:
            self.session.data_received(octets)
        return await self.quiet()

    async def quiet(self) -> bytes:
        """Wait until nothing more will be said without being asked; return what was."""
        for _ in range(10_000):
            if self.task is None or self.task.done() or self._is_idle():
                break
            await asyncio.sleep(0)
        said = bytes(self.transport.written)
        self.transport.written.clear()
        return said

    def _is_idle(self) -> bool:
        return self.session.conversation.is_idle

    def disconnect(self) -> None:
        """Vanish."""
        self.transport.close()


@asynccontextmanager
async def memory_peer(settings: DoorSettings, ports: DoorPorts, **options: Any) -> Any:
    """Yield a connected peer; its session ends with the block."""
    async with asyncio.TaskGroup() as tasks:
        peer = MemoryPeer(settings, ports, tasks, **options)
        try:
            yield peer
        finally:
            peer.disconnect()


async def until(condition: Callable[[], bool], *, within_s: float = 120.0) -> None:
    """Return when ``condition`` has come; threads may be what it waits for."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0)


def codes(said: bytes) -> list[int]:
    """Return the codes of the replies in ``said``; lines of one reply count once."""
    assert said == b"" or said.endswith(b"\r\n"), said
    return [int(line[:3]) for line in said.split(b"\r\n")[:-1] if line[3:4] == b" "]
